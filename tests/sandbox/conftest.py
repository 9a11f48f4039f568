from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox

from .fakes import Caller


@pytest.fixture
def caller(kandinsky_sandbox: Sandbox) -> Iterator[Caller]:
    caller = Caller(kandinsky_sandbox)
    with caller.http:
        yield caller
