"""Waits for the jobs of a batch in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from airflow_provider_kandinsky.durable.records import Item, JobRecord, deadline_of
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.hand_over import HandOverRule, JobPolls, OutcomesById, PendingJob


class BatchWaiting:
    """Polls jobs in the event loop of the service.

    :param service: where they were submitted.
    :param began_at: when this try began, seconds since the epoch.
    :param timeout: seconds from a submission until the job is given up.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    """

    def __init__(self, service: Service, began_at: float, timeout: float, poll_interval: float | None) -> None:
        self._service = service
        self._began_at = began_at
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._polls = self._new_polls(poll_interval)

    def pending(self, item: Item, record: JobRecord) -> PendingJob:
        """What is in flight, as a waiter needs it."""
        deadline = deadline_of(record.submitted_at, self._began_at, self._timeout)
        samples = item.request.url_count(self._service.model)
        return PendingJob(record.request_id or "", record.submitted_at, deadline, samples)

    def until_enough(self, jobs: Sequence[PendingJob], rule: HandOverRule) -> OutcomesById:
        """Wait until enough jobs are over. The others are polled on by the next call.

        :param jobs: all that are in flight.
        :param rule: how many are enough.
        """
        return self._service.runner.run(self._polls.collect(jobs, rule))

    def until_done(self, jobs: Sequence[PendingJob], *, is_last_poll: bool) -> OutcomesById:
        """Wait for all of them, each to its own deadline.

        :param is_last_poll: whether to poll once, and give up what is not finished.
        """
        if is_last_poll:
            jobs = [replace(job, deadline=min(job.deadline, self._service.clock())) for job in jobs]
        polls = self._new_polls(None if is_last_poll else self._poll_interval)
        return self._service.runner.run(polls.collect(jobs))

    def _new_polls(self, poll_interval: float | None) -> JobPolls:
        async def poll(job: PendingJob) -> GenerationResult:
            client = await self._service.hook.aget_conn()
            return await client.poll_until_done(**asdict(job), model=self._service.model, poll_interval=poll_interval)

        return JobPolls(poll, self._service.clock)
