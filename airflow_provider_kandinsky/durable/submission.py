"""Submit items, each once, whatever became of earlier tries to. A single generation is a batch of one.

The table of what a new try does is in ``docs/money.md``, its rules in :mod:`~.durable.policy`. All of it comes down to
this: an id in the ledger is re-attached, an intent without one is reconciled with the service's request history, and
only what is known not to have been accepted is submitted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from airflow_provider_kandinsky.durable.matching import Intent
from airflow_provider_kandinsky.durable.policy import History, Step, after_lost_response
from airflow_provider_kandinsky.durable.reconciliation import Finding
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.state import JobState
from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

log = logging.getLogger(__name__)

#: By how many seconds after its intent a POST has left, or is not sent: what the client may wait, and a little.
SEND_WITHIN: Final = SUBMIT_RETRY_TIMEOUT + 5.0


class Submission:
    """Submits what is still wanted.

    :param state: what is wanted, and how far it has come.
    :param service: where it is submitted.
    :param send_within: by how many seconds after its intent a POST has left, or is not sent.
    :param log_level: at which each submission is logged.
    """

    def __init__(
        self,
        state: JobState,
        service: Service,
        *,
        send_within: float = SEND_WITHIN,
        log_level: int = logging.DEBUG,
    ) -> None:
        #: Why nothing more is submitted, where that is so.
        self.stopped: KandinskyError | None = None
        self._state = state
        self._service = service
        self._history = service.history
        self._send_within = send_within
        self._log_level = log_level

    def resolve(self) -> None:
        """Find out what became of the submissions that an earlier try has begun, and died or lost the response."""
        lost = [(item, record) for item, record in self._state.records() if record.is_unresolved]
        if unrecorded := self._state.unrecorded():
            log.warning(
                "The task was cleared, and nothing records what it submitted before: Airflow 3.4 discards that with a "
                "clear. Asking the request history for it"
            )
        lost += unrecorded
        if not lost:
            return
        intents = [self._intent(item, record) for item, record in lost]
        findings = self._history.resolve(intents, self._state.known_ids())
        for (item, record), finding in zip(lost, findings, strict=True):
            step = after_lost_response(finding.history, self._history.on_unknown_submit, is_presumed=record.presumed)
            if record.presumed and (step is Step.FAIL or finding.row is not None):
                self._state.note_presumed(record)
            if step is Step.FAIL:
                self._state.note_failure(item, _unknown_error(finding))
            elif not self._adopt(item, finding.row):
                log.log(
                    self._log_level if record.presumed else logging.WARNING,
                    "What the request history says of an earlier try's %s: %s. Submitting",
                    _describe(item.request),
                    finding.history,
                )
                self._state.reset(item)
        self._state.write()

    def submit(self, group: Sequence[Item]) -> KandinskyError | None:
        """Submit a group of items concurrently, none of which has been accepted. Its intents are written together with
        what was noted before, so that never more than one group lacks its ids. The ids are noted; the caller writes
        them by :meth:`~.JobState.write`.

        :return: the error after which a later group may still succeed.
        """
        try:
            group = self._within_budget(group)
        except (RateLimitedError, ServiceUnavailableError) as not_known:
            return not_known
        except KandinskyError as not_known:
            self.stopped = not_known
            return None
        now = self._service.clock()
        for item in group:
            self._state.note_intent(item, now, now + self._send_within)
        self._state.write()
        lost: list[tuple[Item, SubmissionUnknownError]] = []
        refusal = None
        for item, error in zip(
            group, self._service.runner.run(self._submit_all(group, now + self._send_within)), strict=True
        ):
            if isinstance(error, SubmissionUnknownError):
                lost.append((item, error))
            elif error is not None:
                self._state.reset(item)
                self._service.budget.refused(item)
                if isinstance(error, BadRequestError):
                    self._state.note_failure(item, error)
                elif isinstance(error, (RateLimitedError, ServiceUnavailableError)):
                    refusal = error
                else:
                    self.stopped = error
        self._recover(lost)
        return refusal

    def _within_budget(self, group: Sequence[Item]) -> Sequence[Item]:
        """As much of the group as ``daily_budget`` allows; if that is not all, nothing more is submitted."""
        try:
            allowed, exceeded = self._service.runner.run(self._service.budget.reserve(group))
        except KandinskyError as error:
            error.message = f"What was spent today cannot be read: {error.message}"
            raise
        self.stopped = exceeded or self.stopped
        return allowed

    async def _submit_all(self, group: Sequence[Item], send_by: float) -> list[KandinskyError | None]:
        return await asyncio.gather(*(self._submit_one(item, send_by) for item in group))

    async def _submit_one(self, item: Item, send_by: float) -> KandinskyError | None:
        sent_at: list[float] = []
        try:
            job = await self._service.hook.asubmit(
                item.request, self._service.model, send_by=send_by, on_send=sent_at.append
            )
        except (SubmissionUnknownError, asyncio.CancelledError) as error:
            if sent_at:
                self._state.note_sent(item, sent_at[-1])
            if isinstance(error, asyncio.CancelledError):
                raise
            return error
        except KandinskyError as error:
            return error
        # Logged before it is recorded: should the recording fail, the log still has the id.
        log.log(
            self._log_level,
            "Submitted to %s, %s: request %s",
            self._service.model,
            _describe(item.request),
            job.request_id,
        )
        # Noted here, so that it is known even if the rest of the group is cut short.
        self._state.record_submitted(item, job.request_id, self._service.clock())
        self._service.budget.accepted(item, job.request_id)
        return None

    def _recover(self, lost: Sequence[tuple[Item, SubmissionUnknownError]]) -> None:
        """Ask the history for submissions whose responses were lost. What it has was accepted; what it lacks may come
        later, so the next try decides about that."""
        findings = [Finding(History.ABSENT)] * len(lost)
        records = [self._state.record(item) for item, _ in lost]
        intents = [self._intent(item, record) for (item, _), record in zip(lost, records, strict=True) if record]
        if intents and self._state.are_kept:
            findings = self._history.find(intents, self._state.known_ids())
            if findings[0].error is not None:
                log.info("The request history could not be asked for lost submissions: %s", findings[0].error)
        for (item, unknown), finding in zip(lost, findings, strict=True):
            # A row that has failed may be of another submission, as long as this one's is not there yet.
            row = None if finding.history is History.FAILED else finding.row
            if not self._adopt(item, row):
                # Without a ledger the next try would just pay again.
                unknown.retryable = self._state.are_kept
                self._state.note_failure(item, unknown)

    def _adopt(self, item: Item, row: PastRequest | None) -> bool:
        """Take a request of the history for an item's; see :meth:`~.state.JobState.adopt_from_history`."""
        if row is None or not self._state.adopt_from_history(item, row):
            return False
        self._service.budget.accepted(item, row.request_id)
        log.log(self._log_level, "An earlier submission is in the request history: request %s", row.request_id)
        return True

    def _intent(self, item: Item, record: JobRecord) -> Intent:
        send_by = record.intended_at + self._send_within if record.send_by is None else record.send_by
        own = frozenset(item.request.model_parameters or ())
        return Intent(
            item.request.payload(), record.intended_at, send_by, record.sent_at, item.has_own_seed, own, record.presumed
        )


def _unknown_error(finding: Finding) -> SubmissionUnknownError:
    """Why it is not known whether an earlier try was accepted."""
    reason = finding.error.message if finding.error is not None else f"it says: {finding.history}"
    unknown = SubmissionUnknownError(
        f"An earlier try may have submitted this, and the request history does not say: {reason}. "
        'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice'
    )
    # Asking again later costs nothing.
    unknown.retryable = finding.error is not None and finding.error.retryable
    unknown.__cause__ = finding.error
    return unknown


def _describe(request: TextToImageRequest) -> str:
    """One phrase for the log; the prompt is among the rendered fields."""
    seed = "a random seed" if request.seed == -1 else f"seed {request.seed}"
    return f"{request.samples or 1} image(s) with {seed}"
