"""Sweeps over the request history for all jobs that one client waits for.

The history is a free call at another host. If it fails, is slow or is rate limited, it is left alone for a while, and
the jobs are polled as if there were none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.waiting.sweep import Finding, Sweep, WaitingJob
from airflow_provider_kandinsky.segmind.waiting.sweep_policy import SweepPolicy
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

log = logging.getLogger(__name__)

#: Reads one page: of this model (empty: of all), since when (seconds since the epoch), its number.
ReadPage = Callable[[str, float, int], Awaitable[list[PastRequest]]]


class HistorySweeper:
    """Sweeps while jobs are waited for, and reports what it finds.

    :param read_page: reads a page; raises a KandinskyError if it cannot.
    :param report: called with each job that a sweep has found, with what it says, the row, and when the next sweep
        begins, seconds since the epoch.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        read_page: ReadPage,
        report: Callable[[WaitingJob, Finding, PastRequest, float], None],
        *,
        policy: SweepPolicy,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._read_page = read_page
        self._report = report
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        # Several may wait for one job.
        self._jobs: dict[str, list[WaitingJob]] = {}
        self._task: asyncio.Task[None] | None = None
        self._next_at = 0.0
        self._failures = 0

    @property
    def is_working(self) -> bool:
        """Whether it is sweeping, and the last sweep has succeeded."""
        return self._task is not None and self._failures == 0

    def watch(self, job: WaitingJob) -> None:
        """Search for a job in all sweeps from now on."""
        self._jobs.setdefault(job.poller.request_id, []).append(job)
        if self._failures == 0:
            # It may be over sooner than those that are waited for already.
            self._next_at = min(self._next_at, self._clock() + self._policy.min_interval)
        if self._task is None and len(self._jobs) >= self._policy.min_jobs:
            # In an empty context: its log lines do not belong to the trigger that happened to start it.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def forget(self, job: WaitingJob) -> None:
        """Search for it no more."""
        request_id = job.poller.request_id
        self._jobs[request_id].remove(job)
        if not self._jobs[request_id]:
            del self._jobs[request_id]

    async def aclose(self) -> None:
        """Stop sweeping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._jobs:
                if (pause := self._next_at - self._clock()) > 0:
                    # In parts, because a new job may bring it forward.
                    await self._sleep(min(pause, self._policy.min_interval))
                    continue
                try:
                    await self._sweep()
                except KandinskyError as error:
                    self._leave_alone(error)
        finally:
            self._task = None

    def _leave_alone(self, error: KandinskyError) -> None:
        pause = min(self._policy.first_pause * 2.0 ** min(self._failures, 20), self._policy.longest_pause)
        if self._failures == 0:
            log.warning(
                "The request history cannot be used; the jobs are polled one by one, and it is tried again in %.0f s: "
                "%s",
                pause,
                error,
            )
        self._failures += 1
        self._next_at = self._clock() + pause

    async def _sweep(self) -> None:
        began = self._clock()
        jobs = [job for jobs in self._jobs.values() for job in jobs]
        times = [job.poller.submitted_at for job in jobs]
        since, interval = min(times), (began - max(times)) * self._policy.interval_per_age
        interval = min(max(interval, self._policy.min_interval), self._policy.max_interval)
        models = {job.model for job in jobs}
        model = (models.pop() or "") if len(models) == 1 else ""
        sweep = Sweep(self._jobs.keys(), since=since, images=sum(job.samples or 1 for job in jobs))
        page = 1
        while page <= sweep.max_pages and not sweep.is_over:
            last = min(sweep.max_pages, page + self._policy.pages_at_once - 1) if page > 1 else 1
            for rows in await self._read(model, since, range(page, last + 1)):
                # Those that are done need not wait for the rest of the sweep.
                self._report_rows(sweep.add_page(rows), is_last=False)
            page = last + 1
        self._failures = 0
        self._next_at = max(began + interval, self._clock())
        self._report_rows(list(sweep.rows.values()), is_last=True)

    async def _read(self, model: str, since: float, pages: range) -> list[list[PastRequest]]:
        """Read some pages together.

        :raises KandinskyError: one of them could not be read; none is used then.
        """
        read = await asyncio.gather(*(self._read_page(model, since, page) for page in pages), return_exceptions=True)
        found = []
        for each in read:
            if isinstance(each, BaseException):
                raise each
            found.append(each)
        return found

    def _report_rows(self, rows: list[PastRequest], *, is_last: bool) -> None:
        for row in rows:
            for job in list(self._jobs.get(row.request_id, ())):
                finding = job.finding_of(row)
                if is_last or finding is Finding.COMPLETED:
                    self._report(job, finding, row, self._next_at)
