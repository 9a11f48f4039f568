"""Wait for many jobs in the triggerer, by one trigger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.shared_client import poll_with_shared_client
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.job import outcome_for_event
from airflow_provider_kandinsky.triggers.min_lifetime import ensure_min_lifetime


@dataclass(frozen=True, slots=True)
class PendingJob:
    """One job that is waited for.

    :param submitted_at: seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch.
    """

    request_id: str
    submitted_at: float
    deadline: float


#: What is known of each job in the end, by its id: its ``error`` or its ``result``, as dicts, or neither where the
#: pictures came as bytes, which the worker has to fetch.
Outcomes = dict[str, dict[str, Any]]


async def watch(jobs: Iterable[PendingJob], follow: Callable[[PendingJob], Awaitable[GenerationResult]]) -> Outcomes:
    """Wait for all jobs at once, and tell what became of each.

    :param follow: waits for one of them; what it raises is that job's outcome.
    """

    async def outcome(job: PendingJob) -> dict[str, Any]:
        try:
            return outcome_for_event(await follow(job))
        except KandinskyError as error:
            return outcome_for_event(error)

    watched = list(jobs)
    outcomes = await asyncio.gather(*map(outcome, watched))
    return {job.request_id: outcome for job, outcome in zip(watched, outcomes, strict=True)}


class KandinskyBatchTrigger(BaseTrigger):
    """Fire once, when all of some jobs are finished, have failed, or have come to their deadlines.

    As :class:`~.job.KandinskyJobTrigger` it holds ids and numbers only, and can be run again from them at any time.
    The event holds ``outcomes``, see :data:`Outcomes`.

    :param jobs: a mapping for each; see :class:`PendingJob`.
    :param kandinsky_conn_id: the connection; the key is looked up where it is used.
    :param model: the slug, to be told in the results.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    """

    def __init__(
        self,
        jobs: Sequence[Mapping[str, Any]],
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        model: str | None = None,
        poll_interval: float | None = None,
        **_unknown_kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is not typed
        self.jobs = [PendingJob(job["request_id"], job["submitted_at"], job["deadline"]) for job in jobs]
        self.kandinsky_conn_id = kandinsky_conn_id
        self.model = model
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments to run this trigger from, anywhere and at any time."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "jobs": [asdict(job) for job in self.jobs],
                "kandinsky_conn_id": self.kandinsky_conn_id,
                "model": self.model,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once, with what became of all."""
        started = asyncio.get_running_loop().time()
        self.log.info("Waiting for %d requests of a batch", len(self.jobs))
        outcomes = await watch(self.jobs, self._follow)
        await ensure_min_lifetime(self, started)
        yield TriggerEvent({"outcomes": outcomes})  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _follow(self, job: PendingJob) -> GenerationResult:
        return await poll_with_shared_client(
            self.kandinsky_conn_id, model=self.model, poll_interval=self.poll_interval, **asdict(job)
        )

    async def on_kill(self) -> None:
        """Say what became of the money, as :meth:`~.job.KandinskyJobTrigger.on_kill` does."""
        self.log.warning(
            "%d requests of a batch are no longer waited for here; they may still be billed", len(self.jobs)
        )
