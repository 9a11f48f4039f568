"""Buy a generation once, whatever became of earlier tries to.

The table of what a new try does is in ``docs/money.md``. All of it comes down to this: an id in the ledger is
taken up again, an intent without one is looked up in the service's request history, and only what is known not to
have been bought is bought.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.ledger import Entry, JobLedger, argument_hashes
from airflow_provider_kandinsky.metrics import JobMetrics
from airflow_provider_kandinsky.past_purchases import Intent, OnUnknownSubmit, PastPurchases
from airflow_provider_kandinsky.segmind.errors import (
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.history import PastRequest
from airflow_provider_kandinsky.segmind.polling import UNKNOWN_ID_TOLERANCE
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus, TextToImageRequest, fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What the task has bought, now or in an earlier try.

    :param submitted_at: seconds since the epoch.
    :param result: what it gave, where that is already known.
    :param is_asked_again: whether that was most likely delivered before, and asked for again by a user's clear.
    """

    request_id: str
    submitted_at: float
    result: GenerationResult | None = None
    is_asked_again: bool = False


class Submission:
    """One generation that a task instance wants, and the ledger that says how far it has come.

    :param hook: the service.
    :param ledger: the task instance's.
    :param metrics: where purchases are counted.
    :param max_tries: the task instance's, which tells a user's clear from a retry.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    :param on_unknown_submit: see :class:`~.past_purchases.PastPurchases` for it and the next two.
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
        self._id_only = id_only
        self._clock = clock
        self._past_purchases = PastPurchases(hook, model, on_unknown_submit, clock=clock, sleep=sleep)

    def settle(self) -> Purchase:
        """Buy, unless it is bought already.

        :raises SubmissionUnknownError: it is not known whether it was bought.
        :raises LedgerError: the ledger cannot be read; nothing was submitted.
        :raises KandinskyError: refused; nothing was accepted.
        """
        entry = self._ledger.read()
        if entry is None or not self._is_the_same(entry):
            return self._buy()
        if entry.request_id is None:
            return self._settle_intent(entry)
        return self._take_up(entry, entry.request_id)

    def _is_the_same(self, entry: Entry) -> bool:
        """Whether what the ledger holds is what is wanted now."""
        wanted = self._entry()
        before = f"request {entry.request_id}" if entry.request_id else "a request whose id was never learnt"
        if entry.fingerprint != wanted.fingerprint:
            changed = ", ".join(entry.changed(wanted.arguments)) or "base URL"
            log.warning("%s has changed since %s was submitted; submitting anew", changed, before)
            return False
        if self._request.seed == -1 and entry.max_tries != self._max_tries:
            log.info("The task was cleared and its seed is -1: a new picture is wanted beside that of %s", before)
            return False
        return True

    def _buy(self) -> Purchase:
        entry = self._entry()
        self._ledger.write(entry)
        try:
            job = self._hook.submit(self._request, self._model)
        except SubmissionUnknownError as error:
            return self._recover(entry, error)
        except KandinskyError:
            self._ledger.forget()
            raise
        # Logged before it is recorded: should the recording fail, the log still has the id.
        log.info("Submitted to %s, %s: request %s", self._model, _in_words(self._request), job.request_id)
        return self._adopt(entry, job.request_id, self._clock())

    def _recover(self, entry: Entry, error: SubmissionUnknownError) -> Purchase:
        """A submission was sent and its answer lost. What has been accepted is found at once, if the history can be
        asked; that it was not is for the next try to say, when the history has had time to learn of it."""
        try:
            (past,) = self._past_purchases.look_for([self._intent(entry)]) if self._ledger.is_kept else (None,)
        except KandinskyError as history_error:
            log.info("The request history could not be asked for the lost submission: %s", history_error)
            past = None
        if past is None or past.status is JobStatus.FAILED:
            # Without a ledger the next try would just pay again.
            error.retryable = self._ledger.is_kept
            raise error
        log.info("The answer to the submission was lost, but the request history has it: request %s", past.request_id)
        return self._adopt_past(entry, past)

    def _adopt(self, entry: Entry, request_id: str, submitted_at: float) -> Purchase:
        self._ledger.write(replace(entry, request_id=request_id, submitted_at=submitted_at))
        self._metrics.submitted()
        return Purchase(request_id, submitted_at)

    def _adopt_past(self, entry: Entry, past: PastRequest) -> Purchase:
        purchase = self._adopt(entry, past.request_id, past.created_at or entry.intended_at)
        self._metrics.reattached("history")
        return purchase

    def _take_up(self, entry: Entry, request_id: str) -> Purchase:
        submitted_at = entry.submitted_at or entry.intended_at
        result = None
        try:
            status: JobStatus | str = self._hook.get_status(request_id)
            if status is JobStatus.COMPLETED and not self._id_only:
                result = self._hook.get_result(request_id, self._model)
        except JobFailedError as error:
            if not error.retryable:
                raise
            log.info("Request %s of an earlier try failed and was not billed; submitting anew", request_id)
            return self._buy()
        except JobExpiredError:
            if self._clock() - submitted_at > UNKNOWN_ID_TOLERANCE:
                return self._find_expired(entry, request_id)
            status = "not known yet"
        except (RateLimitedError, ServiceUnavailableError) as error:
            # Whoever waits for it will see; that it was accepted is known.
            status = f"not known at the moment ({error.message})"
        log.info("Request %s was submitted by an earlier try; taking it up, its status is %s", request_id, status)
        self._metrics.reattached("ledger")
        return Purchase(request_id, submitted_at, result, self._is_asked_again(entry, result))

    def _find_expired(self, entry: Entry, request_id: str) -> Purchase:
        """The service has forgotten the job; its history may still know where the pictures are."""
        submitted_at = entry.submitted_at or entry.intended_at
        if self._id_only:
            log.warning("Request %s has expired, so its id is of no use: submitting anew", request_id)
            return self._buy()
        result = self._past_purchases.find_expired(request_id, submitted_at, self._request.samples or 1)
        if result is None:
            return self._buy()
        self._metrics.reattached("history")
        return Purchase(request_id, submitted_at, result, self._is_asked_again(entry, result))

    def _is_asked_again(self, entry: Entry, result: GenerationResult | None) -> bool:
        return result is not None and entry.max_tries != self._max_tries

    def _settle_intent(self, entry: Entry) -> Purchase:
        """An earlier try died, or lost its answer, between its intent and its record."""
        (past,) = self._past_purchases.settle([self._intent(entry)])
        if past is None:
            log.info("An earlier try was interrupted, and no request of it is known to be accepted; submitting")
            return self._buy()
        if past.status is JobStatus.FAILED:
            log.info("Request %s of an earlier try failed and was not billed; submitting anew", past.request_id)
            return self._buy()
        log.info("The request history knows what became of an earlier try: request %s", past.request_id)
        return self._adopt_past(entry, past)

    def _intent(self, entry: Entry) -> Intent:
        return Intent(self._request.payload(), entry.intended_at)

    def _entry(self) -> Entry:
        payload = self._request.payload()
        return Entry(
            fingerprint=fingerprint(self._hook.get_conn().base_url, self._model, payload),
            arguments=argument_hashes(self._model, payload),
            intended_at=self._clock(),
            max_tries=self._max_tries,
        )


def _in_words(request: TextToImageRequest) -> str:
    """One phrase for the log; the prompt is among the rendered fields."""
    seed = "a random seed" if request.seed == -1 else f"seed {request.seed}"
    return f"{request.samples or 1} picture(s) with {seed}"
