"""One gate for all requests of one account in one event loop.

A limit is counted per account, so a 429 to one job is news for all of them: the gate closes until the limit
resets, instead of every job finding out by itself, and then lets no more pass in a minute than had passed before.
Where the plan's limit is known, the gate keeps to it and there are no 429s to begin with.

Who waits for the gate waits in one queue: submissions first, then results that are ready, then looks, each in the
order they came, so that nobody is starved.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from aiolimiter import AsyncLimiter

from airflow_provider_kandinsky.segmind.calls import Rank
from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.polling import LONGEST_ADVISED_WAIT

#: How often a job is looked at in all, where the plan's limit is not known: many times what any plan allows, and no
#: more than leaves an event loop the time for other work. With a thousand jobs in flight this sets how often each is
#: looked at, and not its age.
MOST_LOOKS_PER_MINUTE: Final = 7_200.0
#: How many may pass at once: enough of them to open all connections would only make each request dearer.
_LARGEST_BURST: Final = 10.0
#: The least that is taken for a limit. A 429 after fewer requests is most likely the work of others, workers that
#: submit, say; the plans of so few requests a minute are for trying the service out.
_LEAST_LEARNED: Final = 60
#: By how much a limit that was found out is raised in every minute without a 429.
_RAISE: Final = 1.5
#: How long the gate stays closed after a 429 that does not say, in seconds: less than the job that was told waits by
#: itself, so that it is not held up twice.
_UNTOLD_WAIT: Final = 0.8
#: Over how many seconds at most the return of several processes, that were told one moment, is spread.
_COMEBACK: Final = 5.0


class Gate:
    """What every request passes before it is sent.

    :param requests_per_minute: the plan's limit; ``None`` to find it out by the service's 429s; looks are then kept to
        :data:`MOST_LOOKS_PER_MINUTE`, for the event loop's sake.
    :param at_once: how many requests may be under way at a time.
    :param clock: wall clock, seconds since the epoch.
    :param rng: numbers from 0 up to 1.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        *,
        at_once: int,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._opens_at = 0.0
        self._queue = _Queue()
        self._places = asyncio.Semaphore(at_once)
        self._is_told = requests_per_minute is not None
        self._minute_ends = clock() + 60
        self._answered = self._answered_before = 0
        self._keep_to(requests_per_minute)

    @asynccontextmanager
    async def passage(self, rank: Rank) -> AsyncIterator[None]:
        """Wait until a request may be sent, and hold its place until it is answered.

        :param rank: who goes before whom.
        """
        async with self._queue.turn(rank):
            await self._places.acquire()
            try:
                await self._until_allowed(rank)
            except BaseException:
                self._places.release()
                raise
        try:
            yield
        finally:
            self._answered += 1
            self._places.release()

    def close(self, error: RateLimitedError) -> None:
        """Let nothing pass until the limit resets.

        :param error: what a request was refused with; to be told while it still holds its place.
        """
        now = self._clock()
        wait = _UNTOLD_WAIT if error.retry_after is None else min(error.retry_after, LONGEST_ADVISED_WAIT)
        if not self._is_told and now >= self._opens_at:
            # Of all that were under way, the first to come back tells how many had passed.
            if (passed := self._answered + self._answered_before) >= _LEAST_LEARNED:
                self._keep_to(passed)
            self._count_anew(now + wait)
        self._answered -= 1  # this one, which is counted when it gives up its place
        self._opens_at = max(self._opens_at, now + wait)

    async def _until_allowed(self, rank: Rank) -> None:
        await self._until_open()
        if not self._is_told and (now := self._clock()) > self._minute_ends:
            self._raise_limit()
            self._count_anew(now, self._answered)
        if rank is Rank.LOOK or self.requests_per_minute is not None:
            await self._limiter.acquire()
            # It may have closed while this request waited.
            await self._until_open()

    def _raise_limit(self) -> None:
        if self.requests_per_minute is not None:
            raised = self.requests_per_minute * _RAISE
            self._keep_to(raised if raised < MOST_LOOKS_PER_MINUTE else None)

    def _count_anew(self, since: float, before: int = 0) -> None:
        # The service's minutes may begin at other times, so that of this one and the last both count.
        self._minute_ends = since + 60
        self._answered, self._answered_before = 0, before

    def _keep_to(self, requests_per_minute: float | None) -> None:
        self.requests_per_minute = requests_per_minute
        self._limiter = _limiter(requests_per_minute or MOST_LOOKS_PER_MINUTE)

    async def _until_open(self) -> None:
        while (closed_for := self._opens_at - self._clock()) > 0:
            await self._sleep(closed_for + min(closed_for, _COMEBACK) * self._rng())


class _Queue:
    """A lock that goes to the lowest rank first, and in a rank to the first who came."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def turn(self, rank: Rank) -> AsyncIterator[None]:
        if self._taken:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._taken = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)  # it stays taken, so that nobody slips in before the next one runs
                return
        self._taken = False


def _limiter(requests_per_minute: float) -> AsyncLimiter:
    """A bucket that never lets more than the limit pass in any minute: what it may let out at once comes off what
    it refills with."""
    burst = min(max(1.0, requests_per_minute / 60), requests_per_minute / 2, _LARGEST_BURST)
    if burst < 1:
        return AsyncLimiter(1, 60 / requests_per_minute)
    return AsyncLimiter(burst, 60 * burst / (requests_per_minute - burst))
