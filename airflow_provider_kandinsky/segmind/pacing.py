"""One gate for all requests of one account in one event loop.

A limit is counted per account, so a 429 to one job is news for all of them: the gate closes until the limit
resets, instead of every job finding out by itself. Where the plan's limit is known, the gate keeps to it and there
are no 429s to begin with.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiolimiter import AsyncLimiter

from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.polling import LONGEST_ADVISED_WAIT

#: How long the gate stays closed after a 429 that does not say, in seconds: less than the job that was told waits by
#: itself, so that it is not held up twice.
_UNTOLD_WAIT: Final = 0.8
#: Over how many seconds at most those who waited for the gate come back.
_COMEBACK: Final = 5.0


class Gate:
    """What every request passes before it is sent.

    :param requests_per_minute: the plan's limit; ``None`` to be slowed down by the service's 429s alone.
    :param clock: wall clock, seconds since the epoch.
    :param rng: numbers from 0 up to 1.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._opens_at = 0.0
        self._limiter = None if requests_per_minute is None else _limiter(requests_per_minute)

    async def enter(self) -> None:
        """Wait until a request may be sent."""
        await self._until_open()
        if self._limiter is not None:
            await self._limiter.acquire()
            # It may have closed while this request queued.
            await self._until_open()

    def close(self, error: RateLimitedError) -> None:
        """Let nothing pass until the limit resets."""
        wait = _UNTOLD_WAIT if error.retry_after is None else min(error.retry_after, LONGEST_ADVISED_WAIT)
        self._opens_at = max(self._opens_at, self._clock() + wait)

    async def _until_open(self) -> None:
        while (closed_for := self._opens_at - self._clock()) > 0:
            await self._sleep(closed_for + min(closed_for, _COMEBACK) * self._rng())


def _limiter(requests_per_minute: float) -> AsyncLimiter:
    """A bucket that never lets more than the limit pass in any minute: what it may let out at once comes off what
    it refills with."""
    burst = min(max(1.0, requests_per_minute / 60), requests_per_minute / 2)
    if burst < 1:
        return AsyncLimiter(1, 60 / requests_per_minute)
    return AsyncLimiter(burst, 60 * burst / (requests_per_minute - burst))
