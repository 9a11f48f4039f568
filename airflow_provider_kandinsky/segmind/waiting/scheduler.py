"""All jobs that one event loop waits for, looked at one after another as they come due.

A coroutine of its own for every job, each asleep most of the time, would cost thousands of timers and waiters that
are made anew for every look, and that the garbage collector goes through while the loop stands still. Here a
waiting job is one entry in a heap, and a few workers do the work.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any, NamedTuple, cast

from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller

#: Looks once at a job: gives its result, or the seconds until the next look; raises what it is to be given up with.
Look = Callable[[JobPoller, str | None], Awaitable[GenerationResult | float]]


class _ScheduledPoll(NamedTuple):
    """A job and when it is to be looked at."""

    at: float
    number: int
    poller: JobPoller
    model: str | None
    outcome: asyncio.Future[GenerationResult]


class PollScheduler:
    """The jobs of one client in one event loop.

    :param look: how to look once.
    :param workers: how many polls may be under way at a time.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        look: Look,
        *,
        workers: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._poll_once = look
        self._most_lookers = workers
        self._clock = clock
        self._sleep = sleep
        self._jobs: list[_ScheduledPoll] = []
        self._numbers = count()
        self._lookers: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._alarm_at = 0.0

    async def poll_until_done(self, poller: JobPoller, model: str | None) -> GenerationResult:
        """Wait for a job, by its poller's cadence.

        :raises KandinskyError: what the poller gives up with.
        """
        outcome: asyncio.Future[GenerationResult] = asyncio.get_running_loop().create_future()
        now = self._clock()
        self._put(_ScheduledPoll(now + poller.start(now), next(self._numbers), poller, model, outcome))
        return await outcome

    async def aclose(self) -> None:
        """Look at nothing any more; who still waits is cancelled."""
        tasks = [*self._lookers, *([self._timer] if self._timer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for due in self._jobs:
            due.outcome.cancel()
        self._jobs.clear()

    def _put(self, due: _ScheduledPoll) -> None:
        heapq.heappush(self._jobs, due)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """See to it that somebody looks when the next job is due."""
        if not self._jobs or len(self._lookers) == self._most_lookers:
            return
        if self._timer is not None:
            if self._alarm_at <= self._jobs[0].at:
                return
            self._timer.cancel()
        self._alarm_at = self._jobs[0].at
        self._timer = self._start(self._wake())

    async def _wake(self) -> None:
        await self._sleep(max(0.0, self._alarm_at - self._clock()))
        self._timer = None
        self._lookers.add(self._start(self._run_due()))

    async def _run_due(self) -> None:
        try:
            while self._jobs and self._jobs[0].at <= self._clock():
                due = heapq.heappop(self._jobs)
                self._set_alarm()  # for another looker, should this look take longer than until the next job is due
                if not due.outcome.done():
                    await self._poll(due)
        finally:
            self._lookers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._set_alarm()

    async def _poll(self, due: _ScheduledPoll) -> None:
        try:
            found = await self._poll_once(due.poller, due.model)
        except asyncio.CancelledError:
            due.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is for the one who waits for this job
            if not due.outcome.done():
                due.outcome.set_exception(error)
            return
        if due.outcome.done():
            return
        if isinstance(found, GenerationResult):
            due.outcome.set_result(found)
        else:
            self._put(due._replace(at=self._clock() + found))

    @staticmethod
    def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a context of its own: what is logged on the way is not of the task that happened to wake it.
        return asyncio.get_running_loop().create_task(work, context=Context())
