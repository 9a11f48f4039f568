"""Values of unknown shape, read as what they should be or not at all.

Anybody who writes a DAG can write any XCom under any key, so nothing here raises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str | None:
    """A string that can be sent: half of a surrogate pair, which JSON can hold, becomes a question mark."""
    return value.encode(errors="replace").decode() if isinstance(value, str) and value else None


def texts(value: Any) -> list[str]:
    """The strings of a list."""
    return [each for each in map(text, value) if each is not None] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """A finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:
        return None


def whole(value: Any) -> int | None:
    """An integer, 0 or more, of the size that seeds and counts have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, empty if it is none."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]] | None:
    """A list of mappings, or ``None`` if it is anything else; an empty one could be anything."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return value
    return None
