"""Wait for many jobs with one trigger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.shared_client import poll_with_shared_client
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY
from airflow_provider_kandinsky.triggers.hand_over import HandOverRule, JobPolls, PendingJob
from airflow_provider_kandinsky.triggers.min_lifetime import ensure_min_lifetime


class KandinskyBatchTrigger(BaseTrigger):
    """Poll jobs until enough are finished, have failed, or have reached their deadlines, and fire once.

    Like :class:`~.job.KandinskyJobTrigger` it holds ids and numbers only, and can be restarted from them at any time.
    The event holds ``outcomes``, see :data:`~.hand_over.OutcomesById`. Jobs that are not among them go on, and are to
    be waited for by another trigger.

    :param jobs: a mapping for each; see :class:`~.hand_over.PendingJob`.
    :param kandinsky_conn_id: the connection; the key is looked up where it is used.
    :param model: the slug, for the results.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    :param hand_over: how many are enough; see :class:`~.hand_over.HandOverRule`. ``None``, as in rows of
        earlier versions: all.
    """

    #: How the jobs are polled.
    poll_policy = DEFAULT_POLL_POLICY

    def __init__(
        self,
        jobs: Sequence[Mapping[str, Any]],
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        model: str | None = None,
        poll_interval: float | None = None,
        hand_over: Mapping[str, Any] | None = None,
        **_unknown_kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is not typed
        self.jobs = [from_stored(PendingJob, job) for job in jobs]
        self.kandinsky_conn_id = kandinsky_conn_id
        self.model = model
        self.poll_interval = poll_interval
        self.hand_over = None if hand_over is None else from_stored(HandOverRule, hand_over)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, from which any triggerer can run this at any time."""
        arguments: dict[str, Any] = {
            "jobs": [asdict(job) for job in self.jobs],
            "kandinsky_conn_id": self.kandinsky_conn_id,
            "model": self.model,
            "poll_interval": self.poll_interval,
        }
        if self.hand_over is not None:
            arguments["hand_over"] = self.hand_over.to_dict()
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once, with the outcomes of those that are over."""
        started = asyncio.get_running_loop().time()
        self.log.info("Waiting for %d requests of a batch", len(self.jobs))
        polls = JobPolls(self._poll_until_done)
        try:
            outcomes = await polls.collect(self.jobs, self.hand_over)
            await ensure_min_lifetime(self, started)
            outcomes |= polls.take_finished()
        finally:
            await polls.aclose()
        yield TriggerEvent({"outcomes": outcomes})  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _poll_until_done(self, job: PendingJob) -> GenerationResult:
        return await poll_with_shared_client(
            self.kandinsky_conn_id,
            model=self.model,
            poll_interval=self.poll_interval,
            poll_policy=self.poll_policy,
            **asdict(job),
        )

    async def on_kill(self) -> None:
        """Log that the jobs may still be billed, as :meth:`~.job.KandinskyJobTrigger.on_kill` does."""
        self.log.warning("No longer waiting for %d requests of a batch here; they may still be billed", len(self.jobs))
