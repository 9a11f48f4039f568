"""One generation: a batch of one, of which an earlier try's job is polled once before it is waited for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.outcomes import OutcomeCollector
from airflow_provider_kandinsky.durable.records import Item, JobRecord, deadline_of
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.single_state import SingleState, ledger_of_job
from airflow_provider_kandinsky.durable.submission import Submission
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.results.reuse_entry import StoredRequest
from airflow_provider_kandinsky.segmind.errors import Billing, JobError, KandinskyError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """What the task has submitted, now or in an earlier try.

    :param submitted_at: seconds since the epoch.
    :param result: what it gave, where that is already known.
    :param already_delivered: whether that was most likely delivered before, and asked for again by a user's clear.
    :param reused: where the images are, if they were there and nothing was submitted.
    """

    request_id: str
    submitted_at: float
    result: GenerationResult | None = None
    already_delivered: bool = False
    reused: StoredRequest | None = None

    def deadline(self, began_at: float, timeout: float) -> float:
        """See :func:`~.durable.records.deadline_of`."""
        return deadline_of(self.submitted_at, began_at, timeout)


class ClaimedElsewhere(Exception):  # no error: the operator waits
    """Another task has claimed the same image.

    :param seconds: how long its claim lasts.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Generation:
    """One generation that a task wants, from its submission to its result.

    :param context: the running task's.
    :param service: where it is submitted.
    :param request: what to submit; see :meth:`~.single_state.SingleState.of_task` for the next one.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    :param max_cost: dollars; once earlier jobs of the task instance have cost that, nothing more is submitted.
    :param index: of the images that are stored, where one of them may be delivered again.
    """

    def __init__(
        self,
        context: Context,
        service: Service,
        request: TextToImageRequest,
        *,
        request_id: str | None = None,
        id_only: bool = False,
        max_cost: float | None = None,
        index: ReuseIndex | None = None,
    ) -> None:
        self._state = SingleState.of_task(context, service, request, request_id)
        self._item = self._state.item
        self._index = index if request.seed != -1 else None
        self._service = service
        self._id_only = id_only
        self._max_cost = max_cost
        self._submission = Submission(self._state, service, log_level=logging.INFO)
        self._outcomes = OutcomeCollector(self._state, service, id_only=id_only)
        self._result: GenerationResult | None = None
        self._already_delivered = False

    def submit_or_reattach(self) -> SubmittedJob:
        """Submit, unless an earlier try has, or the images are stored.

        :raises SubmissionUnknownError: it is not known whether an earlier try was accepted.
        :raises CostLimitError: the jobs of earlier tries have cost as much as is allowed.
        :raises KandinskyError: refused; nothing was accepted. Or the job of an earlier try has failed for good.
        :raises ClaimedElsewhere: another task is about to make the same image.
        :raises ReuseIndexError: it is not known what is stored. Nothing was submitted.
        """
        self._state.log_what_changed()
        index, key = self._index, self._item.key
        if index and self._state.unrecorded() and (stored := index.find([key]).get(key)):
            return self._reuse(stored)  # so the history need not be searched for it
        self._submission.resolve()
        for item, record in self._state.in_flight():
            if self._state.is_of_earlier_try(record):
                self._reattach(item, record)
        if self._state.record(self._item) is None:
            if (stored := self._find_or_claim()) is not None:
                return self._reuse(stored)
            self._check_cost()
            try:
                error = self._submission.submit([self._item]) or self._submission.stopped
            finally:
                # Also if this is cut short: what was accepted is known.
                self._state.write()
            if error is not None:
                self._release()
                raise error
        return self._job()

    def _find_or_claim(self) -> StoredRequest | None:
        if self._index is None:
            return None
        stored, claimed = self._index.find_or_claim([self._item.key])
        for seconds in claimed.values():
            raise ClaimedElsewhere(seconds)
        return stored.get(self._item.key)

    def _reuse(self, stored: StoredRequest) -> SubmittedJob:
        self._state.metrics.reused()
        return SubmittedJob(stored.request_id, 0.0, stored.result(), reused=stored)

    def _check_cost(self) -> None:
        if self._max_cost is None:
            return
        try:
            self._service.history.check_cost(self._state.known_ids(), self._max_cost)
        except KandinskyError:
            self._release()
            raise

    def _release(self) -> None:
        if self._index is not None:
            self._index.release([self._item.key])

    def collect(self, outcome: GenerationResult | dict[str, Any]) -> SubmittedJob:
        """Apply what a wait for the job has given.

        :param outcome: the result, or what a trigger's event says: ``error``, ``result``, or neither where the images
            came as bytes, which are then fetched.
        :return: the job with its result; without one, if it is to be waited for again.
        :raises KandinskyError: there is nothing more of it in this try.
        """
        if isinstance(outcome, GenerationResult):
            self._result = outcome
            return self._job()
        self._outcomes.apply_outcomes({self._job().request_id: outcome})
        for _, result in self._outcomes.fetch(self._outcomes.as_bytes):
            self._result = result
        self._outcomes.as_bytes.clear()
        return self._job()

    def _job(self) -> SubmittedJob:
        record = self._state.record(self._item)
        if record is None:
            raise LookupError("Nothing was submitted yet")
        if (failure := record.failure) is not None:
            if failure.billing is Billing.NO:
                self._release()
            raise failure
        result = self._result or record.generation
        return SubmittedJob(
            record.request_id or "",
            record.submitted_at,
            result and result.with_seed(self._item.seed),
            self._already_delivered,
        )

    def _reattach(self, item: Item, record: JobRecord) -> None:
        """Poll the job of an earlier try once: what it has already given needs no waiting."""
        request_id = record.request_id or ""
        try:
            status: JobStatus | str = self._service.runner.run(self._service.hook.aget_status(request_id))
            if status is JobStatus.COMPLETED and not self._id_only:
                self._result = self._service.runner.run(self._service.hook.aget_result(request_id, self._service.model))
            self._state.note_reattached(item, is_known=True)
        except JobError as error:
            self._outcomes.record_error(item, record, error, has_waited=record.not_found)
            status = "not known"
        except KandinskyError as error:
            # Polling goes on, and reports the outcome; that it was accepted is known.
            status = f"not known at the moment ({error.message})"
        now = self._state.record(item)
        if now is not None and now.error is None:
            self._state.note_reattached(item)
            has_result = self._result is not None or now.result is not None
            self._already_delivered = has_result and self._state.is_cleared(record)
            log.info("Request %s was submitted by an earlier try; re-attaching, its status is %s", request_id, status)
            self._state.metrics.reattached("history" if now.result is not None else "ledger")
        self._state.write()


def job_deferred_for(
    context: Context, service: Service, request_id: str, sent: Mapping[str, Any]
) -> tuple[SubmittedJob, set[str]]:
    """The job that an earlier process of this try has deferred for.

    :param sent: arguments, as they are rendered now.
    :return: the job; and which of the arguments are not those that were sent for it, as far as that is known.
    """
    ledger = ledger_of_job(context, service, request_id)
    if ledger.record is None:
        raise LookupError(request_id)
    return SubmittedJob(request_id, ledger.record.submitted_at), ledger.changed_since(service.model, sent)
