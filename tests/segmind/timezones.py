"""This machine, in another time zone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def in_zone(name: str) -> Iterator[None]:
    """Move this process into a time zone, such as ``"Pacific/Auckland"``."""
    try:
        with mock.patch.dict(os.environ, {"TZ": name}):
            time.tzset()
            yield
    finally:
        time.tzset()
