"""The rate limiter of one client: all requests of one account pass it.

A limit is counted per account, so a 429 to one job is news for all of them: the gate closes until the limit
resets, instead of every job finding out by itself, and then lets no more pass in a minute than had passed before.
Where the plan's limit is known, the gate keeps to it and there are no 429s to begin with.

An account has other users: workers that submit, other triggerers. So that polls do not starve beside submissions,
whoever waits for jobs comes back right after a reset and may send three quarters of the limit at once, and whoever
submits comes back some seconds later: a job that nobody polls was paid for in vain, and one that is submitted later
costs nothing. Three quarters, because each job costs one submission, one result and about two polls.
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

#: How often a job is looked at in all, where the plan's limit is not known: many times what any plan allows, and no
#: more than leaves an event loop the time for other work. With a thousand jobs in flight this sets how often each is
#: looked at, and not its age.
MAX_POLLS_PER_MINUTE: Final = 7_200.0
#: How many may pass at once: enough of them to open all connections would only make each request dearer.
_LARGEST_BURST: Final = 10.0
#: The least that is taken for a limit. A 429 after fewer requests is most likely the work of others, workers that
#: submit, say; the plans of so few requests a minute are for trying the service out.
_MIN_LEARNED_LIMIT: Final = 60
#: By how much a limit that was found out is raised in every minute without a 429.
_LIMIT_GROWTH: Final = 1.5
#: How long the gate stays closed after a 429 that does not say, in seconds: less than the job that was told waits by
#: itself, so that it is not held up twice.
_DEFAULT_RETRY_AFTER: Final = 0.8
#: Over how many seconds at most after a reset the polls of several processes are spread.
POLL_RESUME_SPREAD: Final = 2.0
#: How many seconds after a reset submissions come back at the earliest, and over how many more they are spread.
SUBMIT_RESUME_DELAY: Final = 5.0
SUBMIT_RESUME_SPREAD: Final = 10.0
#: The share of a minute's limit that may be sent at once where others use it, too, before they use it up.
_SHARE_AFTER_RESET: Final = 0.75


def sent_too_late(retry_after: float | None = None) -> RateLimitedError:
    """The error of a submission that could not leave in time."""
    return RateLimitedError("The submission had to wait for too long and was not sent", retry_after=retry_after)


class RateLimiter:
    """What every request passes before it is sent.

    :param requests_per_minute: the plan's limit; ``None`` to find it out by the service's 429s; polls are then kept to
        :data:`MAX_POLLS_PER_MINUTE`, for the event loop's sake.
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
        self._reset_at = self._polls_at = self._submits_at = 0.0
        self._queue = RequestQueue()
        self._places = asyncio.Semaphore(at_once)
        self._is_configured = requests_per_minute is not None
        self._minute_ends = clock() + 60
        self._answered = self._answered_before = 0
        self._set_limit(requests_per_minute, requests_per_minute or MAX_POLLS_PER_MINUTE)

    @asynccontextmanager
    async def slot(self, rank: Priority, until: float | None = None) -> AsyncIterator[None]:
        """Wait until a request may be sent, and hold its place until it is answered.

        :param rank: who goes before whom.
        :param until: how long to wait, wall clock, seconds since the epoch.
        :raises RateLimitedError: it could not be sent by then.
        """
        try:
            async with asyncio.timeout(None if until is None else until - self._clock()):
                await self._enter(rank)
        except TimeoutError:
            raise sent_too_late(max(0.0, self._opens_at(rank) - self._clock()) or None) from None
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
        wait = _DEFAULT_RETRY_AFTER if error.retry_after is None else min(max(error.retry_after, 0.0), MAX_RETRY_AFTER)
        if now >= self._reset_at:
            # Of all that were under way, the first to come back tells how many had passed.
            limit = self._limit_after_429(now)
            rate = limit or float(_MIN_LEARNED_LIMIT)
            self._set_limit(limit, rate, rate * _SHARE_AFTER_RESET)
            self._reset_window(now + wait)
        self._answered -= 1  # this one, which is counted when it gives up its place
        if now + wait > self._reset_at:
            self._reset_at = now + wait
            spread = (
                0.0 if error.retry_after is None else min(wait, POLL_RESUME_SPREAD)
            )  # only what was told is one time
            self._polls_at = self._reset_at + spread * self._rng()
            delay, spread = min(wait, SUBMIT_RESUME_DELAY), min(wait, SUBMIT_RESUME_SPREAD)
            self._submits_at = self._reset_at + delay + spread * self._rng()

    async def _enter(self, rank: Priority) -> None:
        number = self._queue.number()
        while True:
            # Before the queue: a submission, which waits longer, must not keep polls out.
            await self._until_open(rank)
            async with self._queue.turn(rank, number):
                await self._places.acquire()
                try:
                    # It may have closed while this request waited for its turn, or for the limit.
                    if self._is_open(rank):
                        await self._until_allowed(rank)
                    if self._is_open(rank):
                        return
                except BaseException:
                    self._places.release()
                    raise
                self._places.release()

    async def _until_allowed(self, rank: Priority) -> None:
        if (now := self._clock()) > self._minute_ends:
            self._ease()
            # In step with the service's minutes, as long as there is something to keep step with.
            self._reset_window(max(self._minute_ends, now - 60), self._answered)
        if rank is Priority.POLL or self.requests_per_minute is not None:
            await self._limiter.acquire()

    def _limit_after_429(self, now: float) -> float | None:
        passed, known = self._answered + self._answered_before, self.requests_per_minute
        if self._is_configured or passed < _MIN_LEARNED_LIMIT:
            return known
        # What comes when others are back to submit may be their work, and says nothing against a higher limit.
        return passed if now < self._submits_at else max(passed, known or 0)

    def _ease(self) -> None:
        """Begin a minute after one without a 429: others may have left off, and the limit may be higher than known."""
        if self._at_once is None:
            return
        rate = self._rate if self._is_configured else self._rate * _LIMIT_GROWTH
        if not self._is_configured and rate >= MAX_POLLS_PER_MINUTE:
            self._set_limit(None, MAX_POLLS_PER_MINUTE)
        else:
            self._set_limit(None if self.requests_per_minute is None else rate, rate, self._at_once)

    def _reset_window(self, since: float, before: int = 0) -> None:
        # The service's minutes may begin at other times, so that of this one and the last both count.
        self._minute_ends = since + 60
        self._answered, self._answered_before = 0, before

    def _set_limit(self, requests_per_minute: float | None, rate: float, at_once: float | None = None) -> None:
        """From now on.

        :param requests_per_minute: the limit for all requests, where it is known.
        :param rate: that limit, or else the one that polls alone are kept to.
        :param at_once: how many may pass at once, where the service's minutes have other users.
        """
        self.requests_per_minute = requests_per_minute
        self._rate, self._at_once = rate, at_once
        self._limiter = _limiter(rate, at_once)

    def _opens_at(self, rank: Priority) -> float:
        return self._submits_at if rank is Priority.SUBMIT else self._polls_at

    def _is_open(self, rank: Priority) -> bool:
        return self._opens_at(rank) <= self._clock()

    async def _until_open(self, rank: Priority) -> None:
        while (closed_for := self._opens_at(rank) - self._clock()) > 0:
            await self._sleep(closed_for)


def _limiter(requests_per_minute: float, at_once: float | None = None) -> AsyncLimiter:
    """A bucket that never lets more than the limit pass in its first minute, nor in any other if it is let alone: what
    it may let out at once comes off what it refills with.

    :param at_once: how many may pass at once; by default about as many as in a second.
    """
    if at_once is None:
        at_once = min(max(1.0, requests_per_minute / 60), requests_per_minute / 2, _LARGEST_BURST)
    if at_once < 1:
        return AsyncLimiter(1, 60 / requests_per_minute)
    return AsyncLimiter(at_once, 60 * at_once / (requests_per_minute - at_once))
