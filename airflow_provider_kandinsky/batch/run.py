"""A batch from its first wave to its last, as far as one process gets with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from airflow_provider_kandinsky.batch.delivery import BatchDelivery
from airflow_provider_kandinsky.batch.outcomes import BatchOutcomes
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.batch.submission import BatchSubmission
from airflow_provider_kandinsky.durable.records import JobRecord, deadline_of
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.batch import PendingJob, poll_all

log = logging.getLogger(__name__)


class BatchRun:
    """Submits waves, applies their outcomes, and stores the images. It does not wait between the two, for that may
    happen in the triggerer.

    :param state: what is wanted, and how far it has come.
    :param service: where it is submitted.
    :param began_at: when this try began, seconds since the epoch.
    :param timeout: seconds from a submission until the job is given up.
    :param output_path: where the images are stored, if anywhere.
    :param max_cost: dollars; no wave is begun once the costs have reached it.
    :param stopped: why an earlier process of this try has stopped submitting.
    """

    def __init__(
        self,
        state: BatchState,
        service: Service,
        *,
        began_at: float,
        timeout: float,
        output_path: OutputPath | None = None,
        max_cost: float | None = None,
        stopped: KandinskyError | None = None,
    ) -> None:
        self.state = state
        self._submission = BatchSubmission(self.state, service, max_cost=max_cost, stopped=stopped)
        self._outcomes = BatchOutcomes(self.state, service)
        self._service = service
        self._began_at = began_at
        self._timeout = timeout
        self._output_path = output_path

    @property
    def stopped(self) -> KandinskyError | None:
        """Why nothing more is submitted, where that is so."""
        return self._submission.stopped

    def stop(self, error: KandinskyError) -> None:
        """Submit nothing more.

        :param error: why.
        """
        self._submission.stopped = error

    def begin(self) -> None:
        """Go on from where an earlier try has ended."""
        self._submission.resolve()
        self._outcomes.drop_what_is_gone(self._output_path)
        self._store()

    def submit_wave(self, size: int) -> list[PendingJob]:
        """Submit until so many jobs are in flight; see :meth:`~.submission.BatchSubmission.submit_wave`.

        :return: what is to be waited for; nothing if that was all.
        """
        wave = [self._pending(record) for _, record in self._submission.submit_wave(size)]
        self.state.write_progress()
        if wave:
            log.info("%d jobs are in flight. %s", len(wave), self.state.summary())
        return wave

    def apply_outcomes(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Apply what became of a wave, and store its images.

        :param outcomes: see :data:`~airflow_provider_kandinsky.triggers.batch.OutcomesById`.
        """
        self._outcomes.apply_outcomes(outcomes)
        self._store()
        template = self._output_path and self._output_path.template
        self.state.close_done(lambda record: template is None or record.output_path == template)
        self.state.write_progress()
        log.info("%d jobs are over. %s", len(outcomes), self.state.summary())

    def wait(self, jobs: Sequence[PendingJob], poll_interval: float | None) -> None:
        """Wait for a wave in this process, and apply its outcomes.

        :param poll_interval: seconds between polls; adaptive if ``None``.
        """

        async def poll(job: PendingJob) -> GenerationResult:
            client = await self._service.hook.aget_conn()
            return await client.poll_until_done(**asdict(job), model=self._service.model, poll_interval=poll_interval)

        self.apply_outcomes(self._service.runner.run(poll_all(jobs, poll)))

    def wait_for_in_flight(self, poll_interval: float | None, *, is_last_poll: bool = False) -> None:
        """Wait in this process for what is in flight, each to its own deadline.

        :param poll_interval: seconds between polls; adaptive if ``None``.
        :param is_last_poll: whether to poll once, and give up what is not finished.
        """
        jobs = [self._pending(record) for _, record in self.state.in_flight()]
        if is_last_poll:
            jobs = [replace(job, deadline=min(job.deadline, self._service.clock())) for job in jobs]
        self.wait(jobs, None if is_last_poll else poll_interval)

    def _pending(self, record: JobRecord) -> PendingJob:
        deadline = deadline_of(record.submitted_at, self._began_at, self._timeout)
        return PendingJob(record.request_id or "", record.submitted_at, deadline)

    def delivery(self) -> BatchDelivery:
        """What the batch leaves."""
        return BatchDelivery(self.state, self.stopped, self._output_path)

    def _store(self) -> None:
        self._outcomes.store(self._output_path, self._service.hook.settings.download_policy)
