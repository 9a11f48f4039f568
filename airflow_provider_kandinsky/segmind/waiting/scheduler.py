"""All jobs that one client waits for in one event loop, polled in the order in which they fall due.

A coroutine and a timer for each job would hold up the event loop once there are thousands. Here a waiting job is one
entry in a heap, and a few workers do the polling. Where there is a request history, sweeps over it find most of what
polls would, and a job is polled only where they do not.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import Any, Final, NamedTuple, cast

from airflow_provider_kandinsky.segmind.errors import JobFailedError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.waiting.sweep import Finding, WaitingJob
from airflow_provider_kandinsky.segmind.waiting.sweep_policy import DEFAULT_SWEEP_POLICY, SweepPolicy
from airflow_provider_kandinsky.segmind.waiting.sweeper import HistorySweeper, ReadPage
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

#: Polls a job once. Returns its result, or the seconds until the next poll; raises what ends the wait.
_PollOnce = Callable[[JobPoller, str | None], Awaitable[GenerationResult | float]]

#: By how much the lag that was seen of the history counts less with each further job.
_LAG_DECAY: Final = 0.9


class _ScheduledPoll(NamedTuple):
    """When to poll a job. The number keeps the order of jobs that are due at one time."""

    at: float
    number: int
    job: WaitingJob


class PollScheduler:
    """The jobs of one client in one event loop.

    :param poll_once: polls a job once.
    :param workers: how many polls may be under way at a time.
    :param read_page: reads a page of the request history, where there is one.
    :param sweep_policy: how that is swept.
    :param has_room: whether the rate limit has room for requests that are not necessary.
    :param submissions_wait: whether submissions are waiting for the rate limit.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        poll_once: _PollOnce,
        *,
        workers: int,
        read_page: ReadPage | None = None,
        sweep_policy: SweepPolicy = DEFAULT_SWEEP_POLICY,
        has_room: Callable[[], bool] = lambda: True,
        submissions_wait: Callable[[], bool] = lambda: False,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._poll_once = poll_once
        self._max_workers = workers
        self._has_room = has_room
        self._submissions_wait = submissions_wait
        self._clock = clock
        self._sleep = sleep
        self._queue: list[_ScheduledPoll] = []
        self._numbers = count()
        self._workers: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._timer_at = 0.0
        self._lag = 0.0
        self._sweep_policy = sweep_policy
        self._sweeper = read_page and HistorySweeper(
            read_page, self._on_finding, policy=sweep_policy, clock=clock, sleep=sleep
        )

    async def poll_until_done(
        self, poller: JobPoller, model: str | None, samples: int | None = None
    ) -> GenerationResult:
        """Wait for a job.

        :param poller: decides when to poll it.
        :param model: the slug, for the result.
        :param samples: how many images it makes; ``None`` if that is not known.
        :raises KandinskyError: what the poller gives up with.
        """
        now = self._clock()
        outcome: asyncio.Future[GenerationResult] = asyncio.get_running_loop().create_future()
        job = WaitingJob(poller, model, samples, outcome, polled_at=now)
        self._put(job, now + poller.start(now))
        if self._sweeper is None:
            return await outcome
        self._sweeper.watch(job)
        try:
            return await outcome
        finally:
            self._sweeper.forget(job)

    async def aclose(self) -> None:
        """Stop polling and cancel all waiters."""
        if self._sweeper is not None:
            await self._sweeper.aclose()
        tasks = [*self._workers, *([self._timer] if self._timer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in self._queue:
            entry.job.outcome.cancel()
        self._queue.clear()

    def _put(self, job: WaitingJob, at: float) -> None:
        job.entry = next(self._numbers)
        heapq.heappush(self._queue, _ScheduledPoll(at, job.entry, job))
        self._set_timer()

    def _set_timer(self) -> None:
        """Start a timer for the job that is due next, if a worker is free."""
        if not self._queue or len(self._workers) == self._max_workers:
            return
        if self._timer is not None:
            if self._timer_at <= self._queue[0].at:
                return
            self._timer.cancel()
        self._timer_at = self._queue[0].at
        self._timer = self._start(self._start_worker())

    async def _start_worker(self) -> None:
        await self._sleep(max(0.0, self._timer_at - self._clock()))
        self._timer = None
        self._workers.add(self._start(self._run_due()))

    async def _run_due(self) -> None:
        try:
            while self._queue and self._queue[0].at <= self._clock():
                _, number, job = heapq.heappop(self._queue)
                self._set_timer()  # another worker starts if this poll is not over when the next job is due
                if number != job.entry or job.outcome.done():
                    continue
                if (wait := self._wait_for_sweep(job)) > 0:
                    self._put(job, self._clock() + wait)
                    # Thousands may be due together: a sweep has vouched for all of them.
                    await asyncio.sleep(0)
                else:
                    await self._poll(job)
        finally:
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._set_timer()

    def _wait_for_sweep(self, job: WaitingJob) -> float:
        """Seconds for which a job that is due need not be polled, because a sweep says, or may say, how it is."""
        now, policy = self._clock(), self._sweep_policy
        if self._sweeper is None or job.is_checked or now >= job.poller.deadline:
            return 0.0
        until = min(job.in_flight_until, job.polled_at + policy.poll_anyway)
        if until <= now and self._sweeper.is_working:
            # It is not listed, or not yet. The plan's requests belong to the submissions first.
            may_lag = policy.max_lag if self._submissions_wait() else max(policy.min_lag, self._lag)
            until = min(job.polled_at + may_lag, now + 1.0)
        return job.poller.cut_at_deadline(until - now, now)

    def _on_finding(self, job: WaitingJob, finding: Finding, row: PastRequest, next_sweep_at: float) -> None:
        """Act on what a sweep has found; a poll that is under way is not disturbed."""
        if job.outcome.done() or job.is_polling or job.listed is not None:
            return
        if not job.is_listed and finding is not Finding.ABSENT:
            job.is_listed = True
            self._note_lag(self._clock() - job.polled_at)
        if finding is Finding.COMPLETED:
            job.listed = job.result_of(row)
            if job.is_checked or not self._has_room():
                job.outcome.set_result(job.listed)
            else:
                # The result has what no row has: how long the job took, and the seed that the service drew.
                self._poll_now(job, is_completed=True)
        elif finding is Finding.IN_FLIGHT:
            job.in_flight_until = next_sweep_at + self._sweep_policy.vouched_for
        elif finding is not Finding.ABSENT and not job.is_checked:
            self._poll_now(job, is_completed=finding is Finding.INCOMPLETE)

    def _note_lag(self, seconds: float) -> None:
        """Note after how long a job was listed; the next ones are given as long before they are polled."""
        self._lag = min(max(seconds, _LAG_DECAY * self._lag), self._sweep_policy.max_lag)

    def _poll_now(self, job: WaitingJob, *, is_completed: bool) -> None:
        job.is_checked = True
        if is_completed:
            job.poller.on_listed()
        self._put(job, self._clock())

    async def _poll(self, job: WaitingJob) -> None:
        found: GenerationResult | float | Exception
        job.is_polling = True
        try:
            found = await self._poll_once(job.poller, job.model)
        except asyncio.CancelledError:
            job.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the waiter of this job
            found = error
        finally:
            job.is_polling, job.polled_at = False, self._clock()
        if job.listed is not None and not isinstance(found, (GenerationResult, JobFailedError)):
            found = job.listed
        if job.outcome.done():
            return
        if isinstance(found, GenerationResult):
            job.outcome.set_result(found)
        elif isinstance(found, Exception):
            job.outcome.set_exception(found)
        else:
            self._put(job, self._clock() + found)

    @staticmethod
    def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In an empty context: its log lines do not belong to the trigger that happened to start it.
        return asyncio.get_running_loop().create_task(work, context=Context())
