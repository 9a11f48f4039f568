"""Buy the items of a batch in waves, each once, whatever became of earlier tries to.

What :class:`~airflow_provider_kandinsky.durable.submission.Submission` does for one purchase, with the same rules.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from airflow_provider_kandinsky.batch.errors import CostLimitError
from airflow_provider_kandinsky.batch.items import Item
from airflow_provider_kandinsky.batch.ledger import BatchEntry
from airflow_provider_kandinsky.batch.purchases import BatchState
from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.durable.policy import History, Step, after_lost_answer
from airflow_provider_kandinsky.durable.reconciliation import Finding, HistoryReconciler, Intent
from airflow_provider_kandinsky.durable.verdicts import unknown_error
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.constants import MAX_CONNECTIONS
from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)

log = logging.getLogger(__name__)

#: How long the submission of a wave may last, in seconds: with a small rate limit the service would else forget the
#: first jobs of a wave before the last one is submitted.
_LONGEST_SUBMISSION: Final = 300.0
#: By how many seconds after the intents of a group its last POST has left, or is not sent.
_LONGEST_GROUP: Final = 60.0


class BatchSubmission:
    """Submits what is still to be bought.

    :param purchases: what is wanted, and how far it has come.
    :param hook: the service.
    :param runner: the event loop that the hook's async client lives in. The ledger is never written from inside it.
    :param history: the request history.
    :param model: the slug.
    :param max_cost: dollars; no wave is begun once the costs have reached it.
    :param stopped: why an earlier process of this try has stopped submitting.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        purchases: BatchState,
        hook: KandinskyHook,
        runner: TimeoutAwareRunner,
        history: HistoryReconciler,
        model: str,
        *,
        max_cost: float | None = None,
        stopped: KandinskyError | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        #: Why nothing more is submitted, where that is so.
        self.stopped = stopped
        self._purchases = purchases
        self._hook = hook
        self._runner = runner
        self._history = history
        self._model = model
        self._max_cost = max_cost
        self._clock = clock

    def resolve(self) -> None:
        """Find out what became of the purchases that an earlier try has begun, and died or lost the answer."""
        lost = [(item, entry) for item, entry in self._purchases.entries() if entry.is_unsettled]
        if not lost:
            return
        intents = [_intent(item, entry) for item, entry in lost]
        findings = self._history.resolve(intents, self._purchases.known_ids())
        for (item, _), finding in zip(lost, findings, strict=True):
            step = after_lost_answer(finding.history, self._history.on_unknown_submit)
            if step is Step.FAIL:
                self._purchases.note_failure(item, unknown_error(finding))
            elif not self._purchases.adopt_from_history(item, finding.row):
                log.warning(
                    "An earlier try was interrupted; what the request history says of item %s: %s. Submitting",
                    item.positions,
                    finding.history,
                )
                self._purchases.reset(item)
        self._purchases.write()

    def submit_wave(self, size: int) -> list[tuple[Item, BatchEntry]]:
        """Buy until so many jobs are in flight.

        :param size: how many, those of earlier waves and tries included.
        :return: what is in flight: nothing when all is bought, or nothing more is to be bought.
        :raises RateLimitedError: for longer than the client waits, and nothing is in flight.
        :raises ServiceUnavailableError: the same.
        """
        wanted_items = list(self._purchases.wanted)
        cost = self._purchases.cost()
        if wanted_items and self._max_cost is not None and cost >= self._max_cost:
            self.stopped = CostLimitError(
                f"It was left out, because the costs so far, ${cost:g}, have reached max_cost={self._max_cost!r}"
            )
        wanted = iter(wanted_items)
        flying = len(self._purchases.in_flight())
        until = self._clock() + _LONGEST_SUBMISSION
        refusal: KandinskyError | None = None
        try:
            while flying < size and not (self.stopped or refusal) and self._clock() < until:
                group = list(islice(wanted, min(MAX_CONNECTIONS, size - flying)))
                if not group:
                    break
                refusal = self._submit(group)
                entries = map(self._purchases.entry, group)
                flying += sum(entry is not None and entry.is_in_flight for entry in entries)
        finally:
            # Also if this is cut short: what was accepted is known.
            self._purchases.write()
        if flying or self.stopped:
            return self._purchases.in_flight()[:size]
        if refusal is not None:
            raise refusal
        if next(wanted, None) is not None:
            self.stopped = ServiceUnavailableError(
                f"It was left out, because no submission was accepted within {_LONGEST_SUBMISSION:.0f} s. Nothing was "
                "submitted for it"
            )
        return self._purchases.in_flight()[:size]

    def _submit(self, group: Sequence[Item]) -> KandinskyError | None:
        """Buy a group at once. Its intents are written together with the ids of the group before it, so that never
        more than one group is without its ids.

        :return: the error after which a later wave may still succeed.
        """
        now = self._clock()
        for item in group:
            self._purchases.note_intent(item, now, now + _LONGEST_GROUP)
        self._purchases.write()
        lost: list[tuple[Item, SubmissionUnknownError]] = []
        refusal = None
        for item, error in zip(group, self._runner.run(self._submit_all(group, now + _LONGEST_GROUP)), strict=True):
            if isinstance(error, SubmissionUnknownError):
                lost.append((item, error))
            elif error is not None:
                self._purchases.reset(item)
                if isinstance(error, BadRequestError):
                    self._purchases.note_failure(item, error)
                elif isinstance(error, (RateLimitedError, ServiceUnavailableError)):
                    refusal = error
                else:
                    self.stopped = error
        self._recover(lost)
        return refusal

    async def _submit_all(self, group: Sequence[Item], send_by: float) -> list[KandinskyError | None]:
        return await asyncio.gather(*(self._submit_one(item, send_by) for item in group))

    async def _submit_one(self, item: Item, send_by: float) -> KandinskyError | None:
        sent_at: list[float] = []
        try:
            job = await self._hook.asubmit(item.request, self._model, send_by=send_by, on_send=sent_at.append)
        except (SubmissionUnknownError, asyncio.CancelledError) as error:
            if sent_at:
                self._purchases.note_sent(item, sent_at[-1])
            if isinstance(error, asyncio.CancelledError):
                raise
            return error
        except KandinskyError as error:
            return error
        # Noted at once, so that it is known even if the rest of the group is cut short.
        self._purchases.record_submitted(item, job.request_id, self._clock())
        return None

    def _recover(self, lost: Sequence[tuple[Item, SubmissionUnknownError]]) -> None:
        """Submissions were sent and their answers lost. What has been accepted is found at once, if the history can
        be asked; that it was not is for the next try to say."""
        findings = [Finding(History.ABSENT)] * len(lost)
        entries = [self._purchases.entry(item) for item, _ in lost]
        intents = [_intent(item, entry) for (item, _), entry in zip(lost, entries, strict=True) if entry]
        if intents and self._purchases.are_kept:
            findings = self._history.find(intents, self._purchases.known_ids())
            if findings[0].error is not None:
                log.info("The request history could not be asked for lost submissions: %s", findings[0].error)
        for (item, unknown), finding in zip(lost, findings, strict=True):
            if not self._purchases.adopt_from_history(item, finding.row):
                # Without a ledger the next try would just pay again.
                unknown.retryable = self._purchases.are_kept
                self._purchases.note_failure(item, unknown)


def _intent(item: Item, entry: BatchEntry) -> Intent:
    send_by = entry.intended_at + _LONGEST_SUBMISSION if entry.send_by is None else entry.send_by
    return Intent(item.request.payload(), entry.intended_at, send_by, entry.sent_at, item.has_own_seed)
