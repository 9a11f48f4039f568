"""The rate limiter of one client: every request passes it.

The service counts its limit per account, so a 429 to one job concerns them all: all requests pause until the limit
resets, instead of each job running into it. After that no more requests pass in a minute than had passed before the
429. Where the connection says the plan's limit, the limiter keeps to that and there are no 429s to begin with.

An account has other users: workers that submit, other triggerers. So that submissions do not starve polls, polls and
results resume right after a reset, with three quarters of the limit in one burst; submissions resume some seconds
later. A job that nobody polls was paid for in vain, and one that is submitted later costs nothing. Three quarters,
because each job costs one submission, one result and about two polls.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiolimiter import AsyncLimiter

from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.call import Priority
from airflow_provider_kandinsky.segmind.http.request_queue import RequestQueue
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER

#: Polls of all jobs together, where the plan's limit is not known: more than any plan allows, and few enough to leave
#: an event loop time for other work. With a thousand jobs in flight this sets how often each is polled, not its age.
MAX_POLLS_PER_MINUTE: Final = 7_200.0
#: A larger burst would open all connections, which makes each request dearer.
_MAX_BURST: Final = 10.0
#: The smallest limit that is learned. A 429 after fewer requests was most likely caused by others, such as workers
#: that submit.
_MIN_LEARNED_LIMIT: Final = 60
#: Share of a minute's limit up to which there is room for what is not necessary.
_LITTLE: Final = 0.1
#: Growth factor of a learned limit for every minute without a 429.
_LIMIT_GROWTH: Final = 1.5
#: Pause after a 429 without Retry-After, in seconds. Shorter than the poller's own wait, so that no job waits for both.
_DEFAULT_RETRY_AFTER: Final = 0.8
#: Jitter after a reset in seconds, so that the polls of several processes do not resume together.
POLL_RESUME_SPREAD: Final = 2.0
#: Submissions resume so many seconds after a reset, and up to so many more.
SUBMIT_RESUME_DELAY: Final = 5.0
SUBMIT_RESUME_SPREAD: Final = 10.0
#: Share of a minute's limit that may pass in one burst after a reset, before others use it up.
_BURST_AFTER_RESET: Final = 0.75


def sent_too_late(retry_after: float | None = None) -> RateLimitedError:
    """Build the error for a submission that could not be sent in time."""
    return RateLimitedError("The submission had to wait for too long and was not sent", retry_after=retry_after)


class RateLimiter:
    """Every request waits here for its slot.

    :param requests_per_minute: the plan's limit; ``None`` to learn it from the service's 429s. Until then, polls are
        kept to :data:`MAX_POLLS_PER_MINUTE`.
    :param at_once: how many requests may be under way at a time.
    :param clock: wall clock, seconds since the epoch.
    :param rng: returns numbers from 0 up to 1.
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
        self._reset_at = self._polls_resume_at = self._submits_resume_at = 0.0
        self._queue = RequestQueue()
        self._slots = asyncio.Semaphore(at_once)
        self._is_configured = requests_per_minute is not None
        self._window_ends = clock() + 60
        self._passed = self._passed_before = 0
        self._set_limit(requests_per_minute, requests_per_minute or MAX_POLLS_PER_MINUTE)

    @asynccontextmanager
    async def slot(self, rank: Priority, until: float | None = None) -> AsyncIterator[None]:
        """Wait until a request may be sent, and hold its slot until the response is there.

        :param rank: the request's priority.
        :param until: when to stop waiting, wall clock, seconds since the epoch.
        :raises RateLimitedError: the request could not be sent by then.
        """
        try:
            async with asyncio.timeout(None if until is None else until - self._clock()):
                await self._enter(rank)
        except TimeoutError:
            raise sent_too_late(max(0.0, self._resumes_at(rank) - self._clock()) or None) from None
        try:
            yield
        finally:
            self._passed += 1
            self._slots.release()

    def submissions_wait(self) -> bool:
        """Whether submissions are waiting for their slots."""
        return self._queue.has_waiting(Priority.SUBMIT) or self._is_paused(Priority.SUBMIT)

    def has_room(self) -> bool:
        """Whether a request that is not necessary may be sent now: hardly any have passed in this minute and the last
        one, and none is waiting."""
        now = self._clock()
        if now > self._window_ends + 60:
            passed = 0
        else:
            passed = self._passed + (self._passed_before if now <= self._window_ends else 0)
        limit = self.requests_per_minute or _MIN_LEARNED_LIMIT
        return passed < _LITTLE * limit and self._queue.is_free and not self._is_paused(Priority.SUBMIT)

    def pause_for(self, error: RateLimitedError) -> None:
        """Let no request pass until the limit resets.

        :param error: the 429; call this while its request still holds its slot.
        """
        now = self._clock()
        wait = _DEFAULT_RETRY_AFTER if error.retry_after is None else min(max(error.retry_after, 0.0), MAX_RETRY_AFTER)
        if now >= self._reset_at:
            # Only the first 429 of those under way says how many requests the limit has let pass.
            limit = self._limit_after_429(now)
            rate = limit or float(_MIN_LEARNED_LIMIT)
            self._set_limit(limit, rate, rate * _BURST_AFTER_RESET)
            self._reset_window(now + wait)
        self._passed -= 1  # this request, which is counted when it gives up its slot
        if now + wait > self._reset_at:
            self._reset_at = now + wait
            # A default pause ends at another moment for each process anyway.
            spread = 0.0 if error.retry_after is None else min(wait, POLL_RESUME_SPREAD)
            self._polls_resume_at = self._reset_at + spread * self._rng()
            delay, spread = min(wait, SUBMIT_RESUME_DELAY), min(wait, SUBMIT_RESUME_SPREAD)
            self._submits_resume_at = self._reset_at + delay + spread * self._rng()

    async def _enter(self, rank: Priority) -> None:
        number = self._queue.number()
        while True:
            # Outside the queue: a submission, whose pause is longer, must not keep polls out.
            await self._until_resumed(rank)
            async with self._queue.turn(rank, number):
                await self._slots.acquire()
                try:
                    # A pause may have begun while this request waited for its turn, or for the limit.
                    if not self._is_paused(rank):
                        await self._until_allowed(rank)
                    if not self._is_paused(rank):
                        return
                except BaseException:
                    self._slots.release()
                    raise
                self._slots.release()

    async def _until_allowed(self, rank: Priority) -> None:
        if (now := self._clock()) > self._window_ends:
            self._grow_limit()
            # In step with the service's minutes.
            self._reset_window(max(self._window_ends, now - 60), self._passed)
        if rank is Priority.POLL or self.requests_per_minute is not None:
            await self._limiter.acquire()

    def _limit_after_429(self, now: float) -> float | None:
        passed, known = self._passed + self._passed_before, self.requests_per_minute
        if self._is_configured or passed < _MIN_LEARNED_LIMIT:
            return known
        # Once others submit again, a 429 may be their doing, and does not lower the limit.
        return passed if now < self._submits_resume_at else max(passed, known or 0)

    def _grow_limit(self) -> None:
        """After a minute without a 429, allow more: others may have stopped, or the limit may be higher."""
        if self._burst is None:
            return
        rate = self._rate if self._is_configured else self._rate * _LIMIT_GROWTH
        if not self._is_configured and rate >= MAX_POLLS_PER_MINUTE:
            self._set_limit(None, MAX_POLLS_PER_MINUTE)
        else:
            self._set_limit(None if self.requests_per_minute is None else rate, rate, self._burst)

    def _reset_window(self, since: float, before: int = 0) -> None:
        # The service's minute may begin within this one, so that what passed in the last one counts as well.
        self._window_ends = since + 60
        self._passed, self._passed_before = 0, before

    def _set_limit(self, requests_per_minute: float | None, rate: float, burst: float | None = None) -> None:
        """Set what may pass from now on.

        :param requests_per_minute: the limit for all requests, where it is known.
        :param rate: that limit, or else the limit for polls alone.
        :param burst: how many may pass at once, where others use the plan as well.
        """
        self.requests_per_minute = requests_per_minute
        self._rate, self._burst = rate, burst
        self._limiter = _limiter(rate, burst)

    def _resumes_at(self, rank: Priority) -> float:
        return self._submits_resume_at if rank is Priority.SUBMIT else self._polls_resume_at

    def _is_paused(self, rank: Priority) -> bool:
        return self._resumes_at(rank) > self._clock()

    async def _until_resumed(self, rank: Priority) -> None:
        while (pause := self._resumes_at(rank) - self._clock()) > 0:
            await self._sleep(pause)


def _limiter(requests_per_minute: float, burst: float | None = None) -> AsyncLimiter:
    """A bucket that never lets more than the limit pass in its first minute, nor in any minute without a pause: the
    burst is taken off the refill.

    :param burst: how many may pass at once; by default about as many as in a second.
    """
    if burst is None:
        burst = min(max(1.0, requests_per_minute / 60), requests_per_minute / 2, _MAX_BURST)
    if burst < 1:
        return AsyncLimiter(1, 60 / requests_per_minute)
    return AsyncLimiter(burst, 60 * burst / (requests_per_minute - burst))
