"""Wait for many jobs, and hand over those that are over while the others go on."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.event import outcome_for_event


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job to wait for.

    :param submitted_at: seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch.
    :param samples: how many images it makes, all as URLs; ``None`` if that is not known.
    """

    request_id: str
    submitted_at: float
    deadline: float
    samples: int | None = None


#: By request id: the job's ``error`` or its ``result``, as dicts, or neither if the images came as bytes, which the
#: worker has to fetch.
OutcomesById = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class HandOverRule:
    """When to hand over what is finished, though other jobs are not. All that is finished is handed over at once.

    A finished job leaves a place in which another could run. Those places stand idle until the hand-over, which costs
    the start of a worker. So it is made when they have been idle for as long as a hand-over is worth.

    :param idle_share: of the time of all places since the wait began, 0 to 1; ``None`` if nothing more is to be
        submitted, so that no place is missed.
    :param max_idle: seconds that all places together may be idle, for each of them; with ``idle_share`` only.
    :param min_rest: of the time since the wait began, 0 to 1: the last jobs are waited for if that takes less. They are
        expected to take as long as the same number of jobs before them.
    :param max_delay: seconds after which the first finished job is handed over in any case.
    :param wake_at: when to hand over even if nothing is finished, seconds since the epoch.
    """

    idle_share: float | None = None
    max_idle: float = math.inf
    min_rest: float = 0.0
    max_delay: float = 600.0
    wake_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's row: those that differ from the defaults."""
        default = asdict(type(self)())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def due_at(self, jobs: int, finished: Sequence[float]) -> float:
        """When to hand over if no other job ends before, in seconds since the wait began; infinite if never.

        :param jobs: how many are waited for.
        :param finished: when those that are over have ended, in seconds since the wait began, in their order.
        """
        if not finished:
            return math.inf
        latest = finished[0] + self.max_delay
        if self.idle_share is None:
            return latest
        number, rest = len(finished), jobs - len(finished)
        idle_before = sum(finished)  # until t the places have been idle for number * t - idle_before
        due = (idle_before + jobs * self.max_idle) / number
        if (growth := number - jobs * self.idle_share) > 0:
            due = min(due, idle_before / growth)
        if 0 < rest <= number:
            due = max(due, finished[-rest] / (1 - self.min_rest))
        return min(due, latest)


class JobPolls:
    """Jobs that are waited for in one event loop, each by a task of its own.

    :param poll_until_done: waits for one of them; a
        :class:`~airflow_provider_kandinsky.segmind.errors.KandinskyError` that it raises is that job's outcome.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        poll_until_done: Callable[[PendingJob], Awaitable[GenerationResult]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._poll_until_done = poll_until_done
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._finished: list[str] = []
        self._has_finished = asyncio.Event()

    async def collect(self, jobs: Iterable[PendingJob], rule: HandOverRule | None = None) -> OutcomesById:
        """Wait until enough jobs are over. The others are polled on while the event loop runs.

        :param jobs: all that are wanted; those that are waited for already are so further on.
        :param rule: when to return although not all are over; ``None``: never.
        :return: the outcomes of those that are over. They are forgotten here.
        """
        for job in jobs:
            if job.request_id not in self._tasks:
                self._tasks[job.request_id] = asyncio.create_task(self._outcome(job))
                self._tasks[job.request_id].add_done_callback(partial(self._note, job.request_id))
        loop = asyncio.get_running_loop()
        started, number = loop.time(), len(self._tasks)
        wakes_in = math.inf if rule is None or rule.wake_at is None else rule.wake_at - self._clock()
        finished: list[float] = []
        while len(self._finished) < number:
            now = loop.time() - started
            finished += [now] * (len(self._finished) - len(finished))
            due = math.inf if rule is None else min(rule.due_at(number, finished), wakes_in)
            if due <= now:
                break
            self._has_finished.clear()
            try:
                async with asyncio.timeout(None if due == math.inf else due - now):
                    await self._has_finished.wait()
            except TimeoutError:
                break
        return self.take_finished()

    def take_finished(self) -> OutcomesById:
        """The outcomes of the jobs that have ended since this was last asked."""
        finished, self._finished = self._finished, []
        return {request_id: self._tasks.pop(request_id).result() for request_id in finished}

    async def aclose(self) -> None:
        """Wait for none of the jobs any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, request_id: str, _: asyncio.Task[dict[str, Any]]) -> None:
        self._finished.append(request_id)
        self._has_finished.set()

    async def _outcome(self, job: PendingJob) -> dict[str, Any]:
        try:
            return outcome_for_event(await self._poll_until_done(job))
        except KandinskyError as error:
            return outcome_for_event(error)


#: While more is to be submitted, and the jobs are waited for in the triggerer: a hand-over costs two worker starts.
DEFERRED_RULE: Final = HandOverRule(idle_share=0.5, max_idle=60.0, min_rest=0.2)
#: The same in a worker, where it costs some writes to the ledger.
WORKER_RULE: Final = HandOverRule(idle_share=0.2, max_idle=5.0)
#: While nothing more is to be submitted.
LAST_RULE: Final = HandOverRule()
