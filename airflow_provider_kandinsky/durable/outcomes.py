"""What became of jobs, noted by the rules of :mod:`~.durable.policy`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_kandinsky.durable.policy import History, Step, after_not_found
from airflow_provider_kandinsky.durable.reconciliation import Finding
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.state import JobState
from airflow_provider_kandinsky.segmind.constants import MAX_IMAGES
from airflow_provider_kandinsky.segmind.errors import (
    Billing,
    IncompleteResultError,
    JobExpiredError,
    JobFailedError,
    JobTimeoutError,
    KandinskyError,
    SubmissionUnknownError,
    error_from_dict,
)
from airflow_provider_kandinsky.segmind.http.results import get_finished_result
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)


class OutcomeCollector:
    """Applies what became of jobs.

    :param state: what is wanted, and how far it has come.
    :param service: where they were submitted.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    """

    def __init__(
        self,
        state: JobState,
        service: Service,
        *,
        id_only: bool = False,
    ) -> None:
        self._state = state
        self._service = service
        self._history = service.history
        self._id_only = id_only
        #: The items whose images came as bytes, which do not travel in events: they are still to be fetched.
        self.as_bytes: list[Item] = []

    def apply_outcomes(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what became of jobs that were waited for.

        :param outcomes: see :data:`~airflow_provider_kandinsky.triggers.hand_over.OutcomesById`.
        """
        for item, record in self._state.in_flight():
            outcome = outcomes.get(record.request_id or "")
            if outcome is None:
                continue
            if "error" in outcome:
                self.record_error(item, record, error_from_dict(dict(outcome["error"])))
            elif "result" in outcome:
                self._state.note_result(item, GenerationResult.from_dict(outcome["result"]))
            else:
                self.as_bytes.append(item)
        self._state.write()

    def record_error(self, item: Item, record: JobRecord, error: KandinskyError, *, has_waited: bool = True) -> None:
        """Note why a job gave nothing, have it submitted again, or leave it in flight, as the policy says.

        :param has_waited: whether for a whole wait nothing but 404 came, and not only once.
        """
        step, is_of_earlier_try = Step.FAIL, self._state.is_of_earlier_try(record)
        if isinstance(error, JobExpiredError):
            if has_waited:
                self._state.note_not_found(item)
            request_id = record.request_id or ""
            most_samples = item.request.image_count(self._service.model) or MAX_IMAGES
            finding = self._history.find_job(request_id, record.submitted_at, item.samples, most_samples)
            step = after_not_found(
                finding.history,
                self._service.clock() - record.submitted_at,
                self._history.on_unknown_submit,
                has_waited=has_waited,
                id_only=self._id_only,
            )
            log.info("The service does not know request %s; the request history says: %s", request_id, finding.history)
            if step is Step.DELIVER and finding.row is not None:
                self._state.note_result(item, finding.row.result())
                return
            if step is Step.REATTACH and record.is_in_flight:
                return  # it is still in flight
            if step in (Step.WAIT, Step.INCOMPLETE) or (step is Step.FAIL and is_of_earlier_try):
                error = expired_error(step, finding, request_id, item.samples)
        elif isinstance(error, JobFailedError) and error.retryable:
            step = Step.SUBMIT
        if step is Step.SUBMIT and is_of_earlier_try:
            # This try is the retry that the error asks for.
            log.warning(
                "Request %s of an earlier try gave nothing: %s. Submitting again",
                record.request_id,
                error.message,
            )
            self._state.reset(item)
        else:
            self._state.note_failure(item, error)

    def fetch(self, items: Sequence[Item]) -> list[tuple[Item, GenerationResult]]:
        """Fetch results that hold the images themselves; why one cannot be fetched is noted."""

        async def fetch_one(item: Item) -> GenerationResult | KandinskyError:
            if (record := self._state.record(item)) is None or record.request_id is None:
                raise LookupError(item.key)
            try:
                return await get_finished_result(
                    await self._service.hook.aget_conn(),
                    record.request_id,
                    self._service.model,
                    submitted_at=record.submitted_at,
                    clock=self._service.clock,
                )
            except KandinskyError as error:
                return error

        async def fetch_all() -> list[GenerationResult | KandinskyError]:
            return await asyncio.gather(*map(fetch_one, items))

        fetched = []
        for item, result in zip(items, self._service.runner.run(fetch_all()), strict=True):
            if not isinstance(result, KandinskyError):
                fetched.append((item, result.with_seed(item.seed)))
            elif (record := self._state.record(item)) is not None:
                self.record_error(item, record, result, has_waited=False)  # asked for once, unlike what was waited for
        return fetched


def expired_error(step: Step, finding: Finding, request_id: str, samples: int) -> KandinskyError:
    """Why nothing is done about a job that the service does not know.

    :param step: what the policy says is to be done.
    :param samples: how many images were asked for.
    """
    if step is Step.INCOMPLETE:
        images = len(finding.row.images) if finding.row else 0
        return IncompleteResultError(
            f"The job has expired, and the request history has {images} of its {samples} images", request_id=request_id
        )
    if step is Step.WAIT:
        return JobTimeoutError(
            "The job has expired, and the request history says that it is not finished", request_id=request_id
        )
    if finding.error is not None:
        error = error_from_dict(finding.error.to_dict())  # it may be the reason for other jobs, too
        error.__cause__ = finding.error
        error.message = f"The service does not know the job, and the request history says: {error.message}"
        error.request_id, error.billing = request_id, Billing.MAYBE
        return error
    unknown = SubmissionUnknownError(
        "The service does not know the job, and the connection has no request history to ask. "
        'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice',
        request_id=request_id,
    )
    unknown.retryable = finding.history is not History.NOT_CONFIGURED
    return unknown
