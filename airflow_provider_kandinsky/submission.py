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
from typing import Final, Literal

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.ledger import Entry, JobLedger, argument_hashes
from airflow_provider_kandinsky.segmind.errors import (
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.history import PAGE_SIZE, PastRequest
from airflow_provider_kandinsky.segmind.polling import UNKNOWN_ID_TOLERANCE
from airflow_provider_kandinsky.segmind.schemas import (
    IMAGE_LIFETIME,
    GenerationResult,
    JobStatus,
    TextToImageRequest,
    fingerprint,
)

log = logging.getLogger(__name__)

OnUnknownSubmit = Literal["fail", "resubmit"]
ON_UNKNOWN_SUBMIT: Final = ("fail", "resubmit")

#: How old an intent must be before its absence from the history means that it was never accepted, in seconds.
HISTORY_SETTLES: Final = 15.0
#: How far the service's clock may be behind this machine's, in seconds.
_CLOCK_SKEW: Final = 120.0
_MOST_PAGES: Final = 50


@dataclass(frozen=True, slots=True)
class Purchase:
    """What the task has bought, now or in an earlier try.

    :param submitted_at: seconds since the epoch.
    :param result: what it gave, where that is already known.
    """

    request_id: str
    submitted_at: float
    result: GenerationResult | None = None


class Submission:
    """One generation that a task instance wants, and the ledger that says how far it has come.

    :param hook: the service.
    :param ledger: the task instance's.
    :param max_tries: the task instance's, which tells a user's clear from a retry.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    :param on_unknown_submit: what to do if a submission was lost and the history cannot tell: ``"fail"`` or
        ``"resubmit"``, which may pay twice.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait for the history to settle.
    """

    def __init__(
        self,
        hook: KandinskyHook,
        ledger: JobLedger,
        request: TextToImageRequest,
        model: str,
        *,
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
        self._max_tries = max_tries
        self._id_only = id_only
        self._on_unknown_submit = on_unknown_submit
        self._clock = clock
        self._sleep = sleep

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
        return self._adopt(entry, job.request_id, self._clock())

    def _recover(self, entry: Entry, error: SubmissionUnknownError) -> Purchase:
        """A submission was sent and its answer lost. What has been accepted is found at once, if the history can be
        asked; that it was not is for the next try to say, when the history has had time to learn of it."""
        try:
            past = self._search_intended(entry) if self._ledger.is_kept else None
        except KandinskyError as history_error:
            log.info("The request history could not be asked for the lost submission: %s", history_error)
            past = None
        if past is None or past.status is JobStatus.FAILED:
            # Without a ledger the next try would just pay again.
            error.retryable = self._ledger.is_kept
            raise error
        log.info("The answer to the submission was lost, but the request history has it: request %s", past.request_id)
        return self._adopt(entry, past.request_id, past.created_at or entry.intended_at)

    def _adopt(self, entry: Entry, request_id: str, submitted_at: float) -> Purchase:
        # Logged before it is recorded: should the recording fail, the log still has the id.
        log.info("Request %s is this task's; recording it", request_id)
        self._ledger.write(replace(entry, request_id=request_id, submitted_at=submitted_at))
        return Purchase(request_id, submitted_at)

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
        return Purchase(request_id, submitted_at, result)

    def _find_expired(self, entry: Entry, request_id: str) -> Purchase:
        """The service has forgotten the job; its history may still know where the pictures are."""
        submitted_at = entry.submitted_at or entry.intended_at
        past = None if self._id_only else self._ask_for_expired(entry, request_id)
        if past is None or not past.images or self._clock() - submitted_at > IMAGE_LIFETIME:
            log.warning(
                "Request %s has expired and there is no picture of it to be had: it is bought again", request_id
            )
            return self._buy()
        log.info("Request %s has expired; its %d picture(s) are in the history", request_id, len(past.images))
        return Purchase(request_id, submitted_at, past.result())

    def _ask_for_expired(self, entry: Entry, request_id: str) -> PastRequest | None:
        """
        :raises KandinskyError: there is a history, and it cannot be asked now.
        """
        client = self._hook.get_conn()
        if not client.has_history:
            return None
        try:
            past = client.get_past_request(request_id)
            if past is not None and (self._request.samples or 1) > 1:
                # Asked for by its id, a request is one row; in the list it has a row for each picture.
                past = self._search(entry.intended_at, lambda row: row.request_id == request_id) or past
        except KandinskyError as error:
            if self._on_unknown_submit == "resubmit":
                log.warning("The request history could not be asked for request %s: %s", request_id, error)
                return None
            error.message = f"The request has expired, and the history that may have its picture says: {error.message}"
            error.request_id = request_id
            raise
        return past

    def _settle_intent(self, entry: Entry) -> Purchase:
        """An earlier try died, or lost its answer, between its intent and its record."""
        try:
            past = self._find_intended(entry)
        except KandinskyError as error:
            if self._on_unknown_submit == "resubmit":
                log.warning("It is not known whether an earlier try was accepted (%s); submitting anew", error.message)
                return self._buy()
            unknown = SubmissionUnknownError(
                f"An earlier try may have submitted this, and the request history cannot tell: {error.message}. "
                'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice'
            )
            # Asking again later costs nothing.
            unknown.retryable = error.retryable
            raise unknown from error
        if past is None:
            log.info("An earlier try was interrupted before its request was accepted; submitting")
            return self._buy()
        if past.status is JobStatus.FAILED:
            log.info("Request %s of an earlier try failed and was not billed; submitting anew", past.request_id)
            return self._buy()
        log.info("The request history knows what became of an earlier try: request %s", past.request_id)
        return self._adopt(entry, past.request_id, past.created_at or entry.intended_at)

    def _find_intended(self, entry: Entry) -> PastRequest | None:
        past = self._search_intended(entry)
        unsettled = entry.intended_at + HISTORY_SETTLES - self._clock()
        if past is None and unsettled > 0:
            # Not there yet is not the same as not there.
            self._sleep(unsettled)
            past = self._search_intended(entry)
        return past

    def _search_intended(self, entry: Entry) -> PastRequest | None:
        payload = self._request.payload()
        earliest = entry.intended_at - _CLOCK_SKEW
        return self._search(
            earliest,
            lambda row: row.asked_for(payload) and (row.created_at is None or row.created_at >= earliest),
        )

    def _search(self, since: float, wanted: Callable[[PastRequest], bool]) -> PastRequest | None:
        """The newest wanted request of the history, which is newest first.

        :raises ServiceUnavailableError: there is more history than can be looked through.
        """
        client = self._hook.get_conn()
        for page in range(1, _MOST_PAGES + 1):
            rows = client.get_history(self._model, since, page)
            if found := next(filter(wanted, rows), None):
                return found
            if not rows or all(row.created_at is not None and row.created_at < since for row in rows):
                return None
        raise ServiceUnavailableError(f"The request history has more than {_MOST_PAGES * PAGE_SIZE} rows to look at")

    def _entry(self) -> Entry:
        payload = self._request.payload()
        return Entry(
            fingerprint=fingerprint(self._hook.get_conn().base_url, self._model, payload),
            arguments=argument_hashes(self._model, payload),
            intended_at=self._clock(),
            max_tries=self._max_tries,
        )
