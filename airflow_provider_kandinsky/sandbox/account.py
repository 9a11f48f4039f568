"""The account: money that runs down, and calls per minute."""

from __future__ import annotations

import heapq
import math
from datetime import UTC, datetime

from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.settings import Settings

#: Money is compared after rounding, since ten times 0.01 is not 0.1 to a float.
_DIGITS = 6


class Balance:
    """What is left to spend. A job is paid when it is accepted and given back at the moment it fails."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._refunds: list[tuple[float, float]] = []

    def balance(self, settings: Settings, now: float) -> tuple[float, float]:
        """Paid and free credits that are left, in dollars."""
        while self._refunds and self._refunds[0][0] <= now:
            self._spent -= heapq.heappop(self._refunds)[1]
        from_free = min(self._spent, settings.free_credits)
        paid = (settings.credits or 0.0) - (self._spent - from_free)
        return round(paid, _DIGITS), round(settings.free_credits - from_free, _DIGITS)

    def affords(self, cost: float, settings: Settings, now: float) -> bool:
        """Whether a job of ``cost`` dollars can be accepted."""
        return round(sum(self.balance(settings, now)) - cost, _DIGITS) >= 0

    def pay(self, job: Job) -> None:
        """Bill a job, and note when it will be given back if it is to fail."""
        self._spent += job.cost
        if job.error is not None:
            heapq.heappush(self._refunds, (job.finished_at, job.cost))


class RateLimit:
    """Counts calls per key in windows that open with a key's first call and last ``rate_window`` seconds."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def reset_at(self, key: str, settings: Settings, now: float) -> float | None:
        """Count one call.

        :return: ``None`` if it may pass, else the time at which the next window opens. A refused call is not counted.
        """
        if settings.requests_per_minute is None:
            return None
        opened_at, count = self._windows.get(key, (now, 0))
        if now >= opened_at + settings.rate_window:
            opened_at, count = now, 0
        if count >= settings.requests_per_minute:
            return opened_at + settings.rate_window
        self._windows[key] = (opened_at, count + 1)
        return None


def rate_limit_headers(settings: Settings, *, now: float, reset_at: float) -> dict[str, str]:
    """What a 429 tells about when to come back."""
    second = math.ceil(reset_at)  # whole seconds, and never one in which the gate is still shut
    written = str(second) if settings.rate_reset == "epoch" else datetime.fromtimestamp(second, UTC).isoformat()
    headers = {"x-rate-limit-reset-at-utc": written}
    if settings.retry_after:
        headers["retry-after"] = str(math.ceil(reset_at - now))
    return headers
