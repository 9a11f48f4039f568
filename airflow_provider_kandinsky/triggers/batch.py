"""Wait for many jobs with one trigger."""

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
    """A job to wait for.

    :param submitted_at: seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch.
    """

    request_id: str
    submitted_at: float
    deadline: float


#: By request id: the job's ``error`` or its ``result``, as dicts, or neither if the images came as bytes, which the
#: worker has to fetch.
OutcomesById = dict[str, dict[str, Any]]


async def poll_all(
    jobs: Iterable[PendingJob], poll_until_done: Callable[[PendingJob], Awaitable[GenerationResult]]
) -> OutcomesById:
    """Wait for all jobs concurrently.

    :param poll_until_done: waits for one of them; a
        :class:`~airflow_provider_kandinsky.segmind.errors.KandinskyError` that it raises is that job's outcome.
    :return: the outcome of each job.
    """

    async def outcome(job: PendingJob) -> dict[str, Any]:
        try:
            return outcome_for_event(await poll_until_done(job))
        except KandinskyError as error:
            return outcome_for_event(error)

    polled = list(jobs)
    outcomes = await asyncio.gather(*map(outcome, polled))
    return {job.request_id: outcome for job, outcome in zip(polled, outcomes, strict=True)}


class KandinskyBatchTrigger(BaseTrigger):
    """Poll jobs until all are finished, have failed, or have reached their deadlines, and fire once.

    Like :class:`~.job.KandinskyJobTrigger` it holds ids and numbers only, and can be restarted from them at any time.
    The event holds ``outcomes``, see :data:`OutcomesById`.

    :param jobs: a mapping for each; see :class:`PendingJob`.
    :param kandinsky_conn_id: the connection; the key is looked up where it is used.
    :param model: the slug, for the results.
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
        """The class path and the arguments, from which any triggerer can run this at any time."""
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
        """Wait, and fire once, with the outcomes of all."""
        started = asyncio.get_running_loop().time()
        self.log.info("Waiting for %d requests of a batch", len(self.jobs))
        outcomes = await poll_all(self.jobs, self._poll_until_done)
        await ensure_min_lifetime(self, started)
        yield TriggerEvent({"outcomes": outcomes})  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _poll_until_done(self, job: PendingJob) -> GenerationResult:
        return await poll_with_shared_client(
            self.kandinsky_conn_id, model=self.model, poll_interval=self.poll_interval, **asdict(job)
        )

    async def on_kill(self) -> None:
        """Log that the jobs may still be billed, as :meth:`~.job.KandinskyJobTrigger.on_kill` does."""
        self.log.warning("No longer waiting for %d requests of a batch here; they may still be billed", len(self.jobs))
