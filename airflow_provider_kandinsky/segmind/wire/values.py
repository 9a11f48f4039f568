"""Numbers and times in any form in which the service writes them. What cannot be read is ``None``; nothing raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from airflow_provider_kandinsky.segmind.constants import INTEGERS

#: The longest number or time that is read, in characters.
_MAX_LENGTH: Final = 400
#: The largest amount that is believed, in dollars or seconds.
_MAX_AMOUNT: Final = 1e9
#: The longest wait in seconds that the service can ask for.
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
#: By how many seconds a time without a zone, and a date without a time, may differ from UTC.
_ZONE_DOUBT: Final = 14 * 3600.0
_DATE_DOUBT: Final = 38 * 3600.0


def number_in(value: Any) -> float | None:
    """A finite number, also from a string; ``None`` for anything else."""
    if not isinstance(value, (int, float, str)) or not _may_be_number(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def amount_in(value: Any) -> float | None:
    """Dollars or seconds, from 0 to a billion. A negative cost would make room under a cost limit."""
    number = number_in(value)
    return number if number is not None and 0 <= number <= _MAX_AMOUNT else None


def integer_in(value: Any) -> int | None:
    """An integer that fits into an XCom, also from a string. Never from a float, which rounds large integers."""
    if not isinstance(value, (int, str)) or not _may_be_number(value):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if number in INTEGERS else None


def _may_be_number(value: float | str) -> bool:
    return len(value) <= _MAX_LENGTH if isinstance(value, str) else not isinstance(value, bool)


class Moment(NamedTuple):
    """A point in time.

    :param seconds: since the epoch.
    :param doubt: by how many seconds it may be wrong: a time without a zone is read as UTC, a date as its midnight.
    """

    seconds: float
    doubt: float


def parse_moment(value: Any) -> Moment | None:
    """Parse a time: seconds, milli-, micro- or nanoseconds since the epoch, ISO 8601, or an HTTP date."""
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


def retry_after_from(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the service asks to wait, from ``Retry-After`` or ``x-rate-limit-reset-at-utc``.

    The format of the latter is not documented; :func:`parse_moment` reads the likely ones.

    :param headers: names in lower case.
    :param now: seconds since the epoch.
    :return: 0 to :data:`MAX_RETRY_AFTER_SECONDS`; ``None`` if there is neither, or neither can be parsed.
    """
    wait = number_in(headers.get("retry-after"))
    if wait is None:
        moments = (parse_moment(headers.get(name)) for name in ("retry-after", "x-rate-limit-reset-at-utc"))
        reset = next(filter(None, moments), None)
        wait = reset and reset.seconds - now
    return None if wait is None else min(max(0.0, wait), MAX_RETRY_AFTER_SECONDS)
