"""Reads what another version of this package has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Record = TypeVar("Record")


def from_stored(record_type: type[Record], values: Mapping[str, Any]) -> Record:
    """Make a dataclass of stored values; fields that this version does not know are left out.

    :raises TypeError: it is no such record.
    """
    names = {each.name for each in fields(record_type)}  # type: ignore[arg-type]  # only dataclasses come here
    return record_type(**{name: value for name, value in values.items() if name in names})
