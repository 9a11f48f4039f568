"""Values of unknown shape, read as what they should be or not at all.

Anybody who writes a DAG can write any XCom under any key, so nothing here raises, but :func:`parse`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

#: So many items of batches are listed one by one; the others are counted.
MOST_ITEMS: Final = 10_000
#: Of the images of one generation so many are shown: the service makes 8 at most.
_MOST_IMAGES: Final = 16
#: Of a text so many characters are shown; an address has fewer.
_LONGEST_TEXT: Final = 10_000


class NestedTooDeeplyError(ValueError):
    """This JSON is made to be expensive."""


def parse(text: str | bytes) -> Any:
    """Parse JSON.

    :raises ValueError: it is none.
    :raises NestedTooDeeplyError: it is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise NestedTooDeeplyError from None


def text(value: Any) -> str | None:
    """A string that can be sent: half of a surrogate pair, which JSON can hold, becomes a question mark."""
    return value[:_LONGEST_TEXT].encode(errors="replace").decode() if isinstance(value, str) and value else None


def texts(value: Any) -> list[str]:
    """The first strings of a list."""
    if not isinstance(value, list):
        return []
    return [each for each in map(text, value[:_MOST_IMAGES]) if each is not None]


def shown(value: Any) -> str:
    """Anything as text."""
    try:
        return text(str(value)) or ""
    except RecursionError:
        return "…"


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


def whole_number(value: Any) -> int | None:
    """The same of a rendered argument, which can be text."""
    return (
        whole(int(value))
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 21
        else whole(value)
    )


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, empty if it is none."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]] | None:
    """A list of mappings, or ``None`` if it is anything else; an empty one could be anything."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return value
    return None
