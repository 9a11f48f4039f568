"""A batch from its first submission to its last, as far as one process gets with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_provider_kandinsky.batch.delivery import BatchDelivery
from airflow_provider_kandinsky.batch.outcomes import BatchOutcomes
from airflow_provider_kandinsky.batch.reuse import BatchReuse
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.batch.submission import BatchSubmission
from airflow_provider_kandinsky.batch.waiting import BatchWaiting
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.triggers.hand_over import HandOverRule, PendingJob

log = logging.getLogger(__name__)

#: Seconds between writes of what is only for people, in one process.
_PROGRESS_INTERVAL: Final = 5.0


class BatchRun:
    """Submits, applies what became of it, and stores the images. It need not wait between the two, for that may happen
    in the triggerer.

    :param state: what is wanted, and how far it has come.
    :param service: where it is submitted.
    :param began_at: when this try began, seconds since the epoch.
    :param timeout: seconds from a submission until the job is given up.
    :param group_size: how many items are submitted at a time.
    :param poll_interval: seconds between polls in this process; adaptive if ``None``.
    :param output_path: where the images are stored, if anywhere.
    :param max_cost: dollars; nothing more is submitted once the costs have reached it.
    :param stopped: why an earlier process of this try has stopped submitting.
    :param reuse: of images that are stored, if they are to be delivered again.
    """

    def __init__(
        self,
        state: BatchState,
        service: Service,
        *,
        began_at: float,
        timeout: float,
        group_size: int,
        poll_interval: float | None = None,
        output_path: OutputPath | None = None,
        max_cost: float | None = None,
        stopped: KandinskyError | None = None,
        reuse: BatchReuse | None = None,
    ) -> None:
        self.state = state
        self.reuse = reuse
        self.submission = BatchSubmission(
            self.state, service, group_size=group_size, max_cost=max_cost, stopped=stopped, reuse=reuse
        )
        self._outcomes = BatchOutcomes(self.state, service)
        self._outcomes.on_stored = None if reuse is None else reuse.note_stored
        self._service = service
        self._waiting = BatchWaiting(service, began_at, timeout, poll_interval)
        self._progress_due_at = 0.0
        self._output_path = output_path

    @property
    def waits_for_others(self) -> bool:
        """Whether other tasks are making images that this one wants."""
        return self.submission.has_more and self.reuse is not None and bool(self.reuse.claimed)

    def begin(self) -> None:
        """Go on from where an earlier try has ended."""
        self.submission.resolve()
        self.state.write()
        self._outcomes.drop_what_is_gone(self._output_path)
        self._store()

    def find_stored(self) -> None:
        """Note what is stored already; before :meth:`begin`, which need not search the history for it then."""
        if self.reuse is not None:
            self.reuse.find_stored()

    def log_quote(self) -> None:
        """Log what is about to be submitted, and its price by the history: one call, which is free. Never stops the
        batch."""
        wanted = [item.request for item in self.state.wanted]
        if not wanted or not self._service.hook.get_conn().has_history:
            return
        items = sum(len(item.positions) for item in self.state.items)
        reused = sum(len(item.positions) for item, record in self.state.records() if record.reused)
        try:
            quote = self._service.hook.price(wanted, self._service.model, items, reused)
        except KandinskyError as error:
            log.info("%d to submit, at a price that the request history could not be asked for: %s", len(wanted), error)
        else:
            log.info("Quote: %s", quote)

    def submit(self, max_in_flight: int) -> list[PendingJob]:
        """Submit until so many jobs are in flight; see :meth:`~.submission.BatchSubmission.submit_up_to`.

        :return: what is to be waited for; nothing if that was all.
        """
        jobs = [self._waiting.pending(item, record) for item, record in self.submission.submit_up_to(max_in_flight)]
        if not jobs or self._service.clock() >= self._progress_due_at:
            self.state.write_progress()
            self._progress_due_at = self._service.clock() + _PROGRESS_INTERVAL
        if jobs:
            log.info("%d jobs are in flight. %s", len(jobs), self.state.summary())
        return jobs

    def apply_outcomes(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Apply what became of jobs, and store their images. What it does not name stays in flight.

        :param outcomes: see :data:`~airflow_provider_kandinsky.triggers.hand_over.OutcomesById`.
        """
        in_flight = [item for item, _ in self.state.in_flight()]
        self._outcomes.apply_outcomes(outcomes)
        self._store()
        if self.reuse is not None:
            self.reuse.release(in_flight)
        template = self._output_path and self._output_path.template
        self.state.close_done(lambda record: template is None or record.output_path == template)
        if outcomes:
            log.info("%d jobs are over. %s", len(outcomes), self.state.summary())

    def wait(self, jobs: Sequence[PendingJob], rule: HandOverRule) -> None:
        """Wait in this process until enough jobs are over, and apply what became of them. The others are polled on
        while this process submits.

        :param jobs: all that are in flight.
        :param rule: how many are enough.
        """
        self.apply_outcomes(self._waiting.until_enough(jobs, rule))

    def wait_for_in_flight(self, *, is_last_poll: bool) -> None:
        """Wait in this process for all that is in flight, each to its own deadline.

        :param is_last_poll: whether to poll once, and give up what is not finished.
        """
        jobs = [self._waiting.pending(item, record) for item, record in self.state.in_flight()]
        self.apply_outcomes(self._waiting.until_done(jobs, is_last_poll=is_last_poll))

    def carry_over(self) -> dict[str, Any]:
        """What the next process of this try has to be given: ``stopped``, why this one has stopped submitting; and
        where there is no store, what :meth:`~.ledger.BatchLedger.carry_over` gives."""
        stopped = {} if self.submission.stopped is None else {"stopped": self.submission.stopped.to_dict()}
        return self.state.carry_over() | stopped

    def delivery(self) -> BatchDelivery:
        """What the batch leaves."""
        if self.reuse is not None:
            self.reuse.pack()
        return BatchDelivery(self.state, self.submission.stopped, self._output_path, with_reuse=self.reuse is not None)

    def _store(self) -> None:
        self._outcomes.store(self._output_path, self._service.hook.settings.download_policy)
