"""Numbers and times in whatever form the service writes them. Whatever comes is read or is ``None``; nothing raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from airflow_provider_kandinsky.segmind.schemas import INTEGERS

#: No number and no time is longer than this, in characters.
_MAX_LENGTH: Final = 400
#: Dollars or seconds; with more than this, sums would be none.
_MAX_AMOUNT: Final = 1e9
#: Seconds that the service may have its callers wait.
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
#: How far a time without a zone may be from what it is in UTC, and how far a date alone.
_ZONE_DOUBT: Final = 14 * 3600.0
_DATE_DOUBT: Final = 38 * 3600.0


def number_in(value: Any) -> float | None:
    """A finite number, also out of a string; ``None`` for all else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > _MAX_LENGTH:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def amount_in(value: Any) -> float | None:
    """Dollars or seconds: a number from 0 to a billion. A negative cost would let others cost more than a limit."""
    number = number_in(value)
    return number if number is not None and 0 <= number <= _MAX_AMOUNT else None


def integer_in(value: Any) -> int | None:
    """An integer that fits into an XCom, also out of a string, and exactly: a float would round the large ones."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    if isinstance(value, str) and len(value) > _MAX_LENGTH:
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if number in INTEGERS else None


class Moment(NamedTuple):
    """A time.

    :param seconds: since the epoch.
    :param doubt: by how many seconds it may be wrong: a time without a zone is read as UTC, a date as its beginning.
    """

    seconds: float
    doubt: float


def parse_moment(value: Any) -> Moment | None:
    """Read a time: seconds since the epoch, or a thousandth, millionth, billionth of them, ISO 8601, an HTTP date."""
    if (number := number_in(value)) is not None:
        scales = (scale for scale in (1, 1e3, 1e6, 1e9) if abs(number) / scale <= 1e11)
        scale = next(scales, None)
        return None if scale is None else Moment(number / scale, 0.0)
    if not isinstance(value, str) or len(value) > _MAX_LENGTH:
        return None
    text = value.strip()
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            if moment.tzinfo is not None:
                return Moment(moment.timestamp(), 0.0)
            seconds = moment.replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        return Moment(seconds, _ZONE_DOUBT if ":" in text else _DATE_DOUBT)
    return None


def parse_timestamp(value: Any) -> float | None:
    """As :func:`parse_moment`, without the doubt."""
    moment = parse_moment(value)
    return None if moment is None else moment.seconds


def retry_after_from(headers: Mapping[str, str], now: float) -> float | None:
    """How many seconds the service asks to wait, from ``Retry-After`` or ``x-rate-limit-reset-at-utc``.

    The format of the latter is not documented; see :func:`parse_moment` for what is understood.

    :param headers: names in lower case.
    :param now: seconds since the epoch.
    :return: 0 to :data:`MAX_RETRY_AFTER_SECONDS`; ``None`` if nothing was said, or nothing that can be read.
    """
    wait = number_in(headers.get("retry-after"))
    if wait is None:
        moments = (parse_timestamp(headers.get(name)) for name in ("retry-after", "x-rate-limit-reset-at-utc"))
        reset = next((moment for moment in moments if moment is not None), None)
        wait = None if reset is None else reset - now
    return None if wait is None else min(max(0.0, wait), MAX_RETRY_AFTER_SECONDS)
