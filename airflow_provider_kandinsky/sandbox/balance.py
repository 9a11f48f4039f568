"""The account's credits."""

from __future__ import annotations

import heapq

from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.settings import Settings

#: Amounts are rounded before they are compared: as floats, ten times 0.01 is not 0.1.
_DIGITS = 6


class Balance:
    """Paid and free credits. A job is billed when it is accepted, and refunded when it fails."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._refunds: list[tuple[float, float]] = []

    def remaining(self, settings: Settings, now: float) -> tuple[float, float]:
        """The remaining paid and free credits, in dollars."""
        while self._refunds and self._refunds[0][0] <= now:
            self._spent -= heapq.heappop(self._refunds)[1]
        from_free = min(self._spent, settings.free_credits)
        paid = (settings.credits or 0.0) - (self._spent - from_free)
        return round(paid, _DIGITS), round(settings.free_credits - from_free, _DIGITS)

    def affords(self, cost: float, settings: Settings, now: float) -> bool:
        """Whether a job of ``cost`` dollars can be accepted."""
        return round(sum(self.remaining(settings, now)) - cost, _DIGITS) >= 0

    def bill(self, job: Job) -> None:
        """Bill a job; if it will fail, schedule its refund."""
        self._spent += job.cost
        if job.error is not None:
            heapq.heappush(self._refunds, (job.finished_at, job.cost))
