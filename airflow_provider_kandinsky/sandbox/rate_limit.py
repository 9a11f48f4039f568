"""The limit of calls per minute, and what a 429 says about it."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from airflow_provider_kandinsky.sandbox.settings import Settings


class RateLimit:
    """Counts calls per key in fixed windows of ``rate_window`` seconds; a window opens with a key's first call."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def refusal(self, key: str, settings: Settings, now: float) -> dict[str, str] | None:
        """Count one call.

        :return: ``None`` if it is allowed, else the headers of its 429. Refused calls do not count.
        """
        if settings.requests_per_minute is None:
            return None
        opened_at, count = self._windows.get(key, (now, 0))
        if now >= opened_at + settings.rate_window:
            opened_at, count = now, 0
        if count >= settings.requests_per_minute:
            return _headers(settings, now=now, reset_at=opened_at + settings.rate_window)
        self._windows[key] = (opened_at, count + 1)
        return None


def _headers(settings: Settings, *, now: float, reset_at: float) -> dict[str, str]:
    second = math.ceil(reset_at)  # rounded up: earlier, the window would still be full
    written = str(second) if settings.rate_reset == "epoch" else datetime.fromtimestamp(second, UTC).isoformat()
    headers = {"x-rate-limit-reset-at-utc": written}
    if settings.retry_after:
        headers["retry-after"] = str(math.ceil(reset_at - now))
    return headers
