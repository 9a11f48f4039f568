"""Read untrusted JSON values as the type they should have.

DAG authors can write any XCom under any key. So only :func:`parse` raises; a wrong type gives ``None`` or an
empty value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

#: Batch items listed one by one; further ones are only counted.
MAX_LISTED_ITEMS: Final = 10_000
#: Images shown per generation; the service makes 8 at most.
_MAX_IMAGES: Final = 16
#: Characters shown of a text; URLs are shorter.
_MAX_TEXT: Final = 10_000


class UnreadableError(ValueError):
    """A response that is too long, or JSON that is nested beyond Python's recursion limit."""


def parse(text: str | bytes) -> Any:
    """Parse JSON.

    :raises ValueError: it is not JSON.
    :raises UnreadableError: it is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableError from None


def text(value: Any) -> str | None:
    """A string that can be encoded: half a surrogate pair, which JSON allows, becomes a question mark."""
    return value[:_MAX_TEXT].encode(errors="replace").decode() if isinstance(value, str) and value else None


def texts(value: Any) -> list[str]:
    """The first strings of a list."""
    if not isinstance(value, list):
        return []
    return [each for each in map(text, value[:_MAX_IMAGES]) if each is not None]


def as_text(value: Any) -> str:
    """The text of any value."""
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


def integer(value: Any) -> int | None:
    """An integer, 0 or more, of the size that seeds and counts have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 else None


def integer_argument(value: Any) -> int | None:
    """The same for a rendered argument, which can be a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 21:
        return integer(int(value))
    return integer(value)


def is_http_url(uri: str) -> bool:
    """Whether an image is at a URL, and not in the user's own storage."""
    return uri.lower().startswith(("http:", "https:"))


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; empty if it is anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]] | None:
    """A list of mappings; ``None`` if it is anything else, or empty."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return value
    return None
