"""Submit a generation once, whatever became of earlier tries to.

The table of what a new try does is in ``docs/money.md``, its rules in :mod:`~.durable.policy`. All of it comes down to
this: an id in the ledger is re-attached, an intent without one is looked up in the service's request history, and only
what is known not to have been accepted is submitted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_kandinsky.durable.ledger import Entry, JobLedger, argument_hashes
from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit, Step, after_lost_answer, after_not_found
from airflow_provider_kandinsky.durable.reconciliation import Finding, HistoryReconciler, Intent
from airflow_provider_kandinsky.durable.verdicts import expired_error, unknown_error
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    JobError,
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus, TextToImageRequest, fingerprint
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

log = logging.getLogger(__name__)

#: By how many seconds after its intent a POST has left, or is not sent: what the client may wait, and a little.
LONGEST_SUBMISSION: Final = SUBMIT_RETRY_TIMEOUT + 5.0


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """What the task has bought, now or in an earlier try.

    :param submitted_at: seconds since the epoch.
    :param result: what it gave, where that is already known.
    :param already_delivered: whether that was most likely delivered before, and asked for again by a user's clear.
    """

    request_id: str
    submitted_at: float
    result: GenerationResult | None = None
    already_delivered: bool = False


class Submission:
    """One generation that a task instance wants, and the ledger that says how far it has come.

    :param hook: the service.
    :param ledger: the task instance's.
    :param metrics: where purchases are counted.
    :param max_tries: the task instance's, which tells a user's clear from a retry.
    :param has_own_seed: whether the seed is made from the task instance's name, so that no other task sends the same.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    :param on_unknown_submit: see :class:`~.durable.reconciliation.HistoryReconciler` for it and the next two.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        hook: KandinskyHook,
        ledger: JobLedger,
        request: TextToImageRequest,
        model: str,
        *,
        metrics: JobMetrics,
        max_tries: int,
        has_own_seed: bool = False,
        id_only: bool = False,
        on_unknown_submit: OnUnknownSubmit = "fail",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._request = request
        self._model = model
        self._metrics = metrics
        self._max_tries = max_tries
        self._has_own_seed = has_own_seed
        self._id_only = id_only
        self._clock = clock
        self._history = HistoryReconciler(hook, model, on_unknown_submit, clock=clock, sleep=sleep)

    def submit_or_reattach(self) -> SubmittedJob:
        """Submit, unless an earlier try has.

        :raises SubmissionUnknownError: it is not known whether an earlier try was accepted.
        :raises LedgerError: the ledger cannot be read; nothing was submitted.
        :raises KandinskyError: refused; nothing was accepted.
        """
        entry = self._ledger.read()
        if entry is None or not self._is_the_same(entry):
            return self._submit(entry)
        if entry.request_id is None:
            return self._resolve_intent(entry)
        return self._reattach(entry, entry.request_id)

    def after_wait(self, purchase: SubmittedJob, error: JobExpiredError, *, has_waited: bool = True) -> SubmittedJob:
        """Ask the history about a job that the service knew nothing of for a whole wait.

        Submits nothing: that is for the next try.

        :param has_waited: whether for a whole wait nothing but 404 came, and not only once.
        :return: the job with its result, or without, if it is to be waited for again.
        :raises JobExpiredError: it is not to be found, or the history cannot tell; ``error``, that is.
        :raises KandinskyError: not all images are to be had, or it is not finished within the hour.
        """
        if has_waited:
            self._ledger.write_not_found()
        finding = self._history.find_job(purchase.request_id, purchase.submitted_at, self._samples)
        step = self._after_not_found(finding, purchase.submitted_at, has_waited=has_waited)
        if step is Step.DELIVER and finding.row is not None:
            log.info("The service does not know request %s; its images are in the history", purchase.request_id)
            return replace(purchase, result=finding.row.result())
        if step is Step.REATTACH:
            return purchase
        if step in (Step.SUBMIT, Step.FAIL):
            raise error
        raise expired_error(step, finding, purchase.request_id, self._samples)

    def _is_the_same(self, entry: Entry) -> bool:
        """Whether what the ledger holds is what is wanted now."""
        wanted = self._entry(entry)
        before = f"request {entry.request_id}" if entry.request_id else "a request whose id was never learnt"
        if entry.fingerprint != wanted.fingerprint:
            changed = ", ".join(entry.changed(wanted.arguments)) or "base URL"
            log.warning("%s has changed since %s was submitted; submitting anew", changed, before)
            return False
        if self._request.seed == -1 and entry.max_tries != self._max_tries:
            log.info("The task was cleared and its seed is -1: a new picture is wanted beside that of %s", before)
            return False
        return True

    def _submit(self, before: Entry | None) -> SubmittedJob:
        """Submit, in place of what the ledger holds."""
        entry = self._entry(before)
        sent_at: list[float] = []
        self._ledger.write(entry)
        try:
            job = self._hook.submit(self._request, self._model, send_by=entry.send_by, on_send=sent_at.append)
        except SubmissionUnknownError as error:
            return self._recover_lost_answer(replace(entry, sent_at=max(sent_at, default=None)), error)
        except KandinskyError:
            self._ledger.delete(before)
            raise
        # Logged before it is recorded: should the recording fail, the log still has the id.
        log.info("Submitted to %s, %s: request %s", self._model, _describe(self._request), job.request_id)
        return self._adopt(entry, job.request_id, self._clock())

    def _recover_lost_answer(self, entry: Entry, error: SubmissionUnknownError) -> SubmittedJob:
        """A submission was sent and its answer lost. What has been accepted is found at once, if the history can be
        asked; that it was not is for the next try to say, when the history has had time to learn of it."""
        finding = None
        if self._ledger.is_kept:
            self._ledger.write(entry)
            (finding,) = self._history.find([self._intent(entry)], entry.earlier_ids)
            if finding.error is not None:
                log.info("The request history could not be asked for the lost submission: %s", finding.error)
        if finding is None or finding.row is None or finding.row.status is JobStatus.FAILED:
            # Without a ledger the next try would just pay again.
            error.retryable = self._ledger.is_kept
            raise error
        request_id = finding.row.request_id
        log.info("The answer to the submission was lost, but the request history has it: request %s", request_id)
        return self._adopt_past(entry, finding.row)

    def _adopt(self, entry: Entry, request_id: str, submitted_at: float) -> SubmittedJob:
        self._ledger.write(replace(entry, request_id=request_id, submitted_at=submitted_at))
        self._metrics.submitted()
        return SubmittedJob(request_id, submitted_at)

    def _adopt_past(self, entry: Entry, past: PastRequest) -> SubmittedJob:
        # By this machine's clock: the history's may be another, and in another zone.
        purchase = self._adopt(entry, past.request_id, entry.sent_at or entry.intended_at)
        self._metrics.reattached("history")
        return purchase

    def _reattach(self, entry: Entry, request_id: str) -> SubmittedJob:
        result = None
        try:
            status: JobStatus | str = self._hook.get_status(request_id)
            if entry.not_found:  # it is known again, so a later 404 is to be waited out, too
                entry = replace(entry, not_found=False)
                self._ledger.write(entry)
            if status is JobStatus.COMPLETED and not self._id_only:
                result = self._hook.get_result(request_id, self._model)
        except JobFailedError as error:
            if not error.retryable:
                raise
            log.info("Request %s of an earlier try failed and was not billed; submitting anew", request_id)
            return self._submit(entry)
        except JobExpiredError:
            return self._reattach_unknown(entry, request_id)
        except JobError:
            raise
        except KandinskyError as error:
            # Whoever waits for it will see; that it was accepted is known.
            status = f"not known at the moment ({error.message})"
        log.info("Request %s was submitted by an earlier try; re-attaching, its status is %s", request_id, status)
        self._metrics.reattached("ledger")
        return self._purchase(entry, request_id, result)

    def _reattach_unknown(self, entry: Entry, request_id: str) -> SubmittedJob:
        """The service answers 404; its history may know more."""
        submitted_at = _submitted_at(entry)
        finding = self._history.find_job(request_id, submitted_at, self._samples)
        step = self._after_not_found(finding, submitted_at, has_waited=entry.not_found)
        if step is Step.SUBMIT:
            log.warning(
                "The service does not know request %s of an earlier try, and the request history says: %s. "
                "It is submitted again",
                request_id,
                finding.history,
            )
            return self._submit(entry)
        if step is Step.DELIVER and finding.row is not None:
            log.info("The service does not know request %s any more; its images are in the history", request_id)
            self._metrics.reattached("history")
            return self._purchase(entry, request_id, finding.row.result())
        if step is not Step.REATTACH:
            raise expired_error(step, finding, request_id, self._samples)
        log.info(
            "The service does not know request %s at the moment, and the request history says: %s. Re-attaching",
            request_id,
            finding.history,
        )
        self._metrics.reattached("ledger")
        return self._purchase(entry, request_id, None)

    def _after_not_found(self, finding: Finding, submitted_at: float, *, has_waited: bool) -> Step:
        return after_not_found(
            finding.history,
            self._clock() - submitted_at,
            self._history.on_unknown_submit,
            has_waited=has_waited,
            id_only=self._id_only,
        )

    def _purchase(self, entry: Entry, request_id: str, result: GenerationResult | None) -> SubmittedJob:
        already_delivered = result is not None and entry.max_tries != self._max_tries
        return SubmittedJob(request_id, _submitted_at(entry), result, already_delivered)

    def _resolve_intent(self, entry: Entry) -> SubmittedJob:
        """An earlier try died, or lost its answer, between its intent and its record."""
        (finding,) = self._history.resolve([self._intent(entry)], entry.earlier_ids)
        step = after_lost_answer(finding.history, self._history.on_unknown_submit)
        if step is Step.FAIL:
            raise unknown_error(finding)
        if step is Step.REATTACH and finding.row is not None:
            log.info("The request history knows what became of an earlier try: request %s", finding.row.request_id)
            return self._adopt_past(entry, finding.row)
        log.warning(
            "An earlier try was interrupted; what the request history says of its submission: %s. Submitting",
            finding.history,
        )
        failed_id = finding.row.request_id if finding.row is not None else None
        return self._submit(replace(entry, request_id=failed_id))

    @property
    def _samples(self) -> int:
        return self._request.samples or 1

    def _intent(self, entry: Entry) -> Intent:
        send_by = entry.intended_at + LONGEST_SUBMISSION if entry.send_by is None else entry.send_by
        return Intent(self._request.payload(), entry.intended_at, send_by, entry.sent_at, self._has_own_seed)

    def _entry(self, before: Entry | None) -> Entry:
        payload, now = self._request.payload(), self._clock()
        return Entry(
            fingerprint=fingerprint(self._hook.get_conn().base_url, self._model, payload),
            arguments=argument_hashes(self._model, payload),
            intended_at=now,
            max_tries=self._max_tries,
            send_by=now + LONGEST_SUBMISSION,
            earlier_ids=before.known_ids if before else (),
        )


def _submitted_at(entry: Entry) -> float:
    return entry.intended_at if entry.submitted_at is None else entry.submitted_at


def _describe(request: TextToImageRequest) -> str:
    """One phrase for the log; the prompt is among the rendered fields."""
    seed = "a random seed" if request.seed == -1 else f"seed {request.seed}"
    return f"{request.samples or 1} picture(s) with {seed}"
