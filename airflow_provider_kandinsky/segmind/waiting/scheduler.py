"""All jobs that one client waits for in one event loop, polled in the order in which they fall due.

A coroutine and a timer for each job would hold up the event loop once there are thousands. Here a waiting job is one
entry in a heap, and a few workers do the polling.
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

#: Polls a job once. Returns its result, or the seconds until the next poll; raises what ends the wait.
_PollOnce = Callable[[JobPoller, str | None], Awaitable[GenerationResult | float]]


class _ScheduledPoll(NamedTuple):
    """A job, and when to poll it. The number keeps the order of jobs that are due at one time."""

    at: float
    number: int
    poller: JobPoller
    model: str | None
    outcome: asyncio.Future[GenerationResult]


class PollScheduler:
    """The jobs of one client in one event loop.

    :param poll_once: polls a job once.
    :param workers: how many polls may be under way at a time.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        poll_once: _PollOnce,
        *,
        workers: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._poll_once = poll_once
        self._max_workers = workers
        self._clock = clock
        self._sleep = sleep
        self._jobs: list[_ScheduledPoll] = []
        self._numbers = count()
        self._workers: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._timer_at = 0.0

    async def poll_until_done(self, poller: JobPoller, model: str | None) -> GenerationResult:
        """Wait for a job.

        :param poller: decides when to poll it.
        :param model: the slug, for the result.
        :raises KandinskyError: what the poller gives up with.
        """
        outcome: asyncio.Future[GenerationResult] = asyncio.get_running_loop().create_future()
        now = self._clock()
        self._put(_ScheduledPoll(now + poller.start(now), next(self._numbers), poller, model, outcome))
        return await outcome

    async def aclose(self) -> None:
        """Stop polling and cancel all waiters."""
        tasks = [*self._workers, *([self._timer] if self._timer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in self._jobs:
            job.outcome.cancel()
        self._jobs.clear()

    def _put(self, job: _ScheduledPoll) -> None:
        heapq.heappush(self._jobs, job)
        self._set_timer()

    def _set_timer(self) -> None:
        """Start a timer for the job that is due next, if a worker is free."""
        if not self._jobs or len(self._workers) == self._max_workers:
            return
        if self._timer is not None:
            if self._timer_at <= self._jobs[0].at:
                return
            self._timer.cancel()
        self._timer_at = self._jobs[0].at
        self._timer = self._start(self._start_worker())

    async def _start_worker(self) -> None:
        await self._sleep(max(0.0, self._timer_at - self._clock()))
        self._timer = None
        self._workers.add(self._start(self._run_due()))

    async def _run_due(self) -> None:
        try:
            while self._jobs and self._jobs[0].at <= self._clock():
                job = heapq.heappop(self._jobs)
                self._set_timer()  # another worker starts if this poll is not over when the next job is due
                if not job.outcome.done():
                    await self._poll(job)
        finally:
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._set_timer()

    async def _poll(self, job: _ScheduledPoll) -> None:
        try:
            found = await self._poll_once(job.poller, job.model)
        except asyncio.CancelledError:
            job.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the waiter of this job
            if not job.outcome.done():
                job.outcome.set_exception(error)
            return
        if job.outcome.done():
            return
        if isinstance(found, GenerationResult):
            job.outcome.set_result(found)
        else:
            self._put(job._replace(at=self._clock() + found))

    @staticmethod
    def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In an empty context: its log lines do not belong to the trigger that happened to start it.
        return asyncio.get_running_loop().create_task(work, context=Context())
