"""Submit the items of a batch: as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from airflow_provider_kandinsky.batch.reuse import BatchReuse
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.errors import CostLimitError
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.submission import Submission
from airflow_provider_kandinsky.results.errors import ReuseIndexError
from airflow_provider_kandinsky.segmind.errors import KandinskyError, ServiceUnavailableError

#: For how long jobs are submitted at a time, in seconds: with a small rate limit the service would else forget the
#: first of them before the last one is submitted.
LONGEST_SUBMISSION: Final = 300.0
#: By how many seconds after the intents of a group its last POST has left, or is not sent.
_SEND_WITHIN: Final = 60.0


class BatchSubmission(Submission):
    """Keeps so many jobs in flight.

    :param state: what is wanted, and how far it has come; see :class:`~.durable.submission.Submission` for it and
        the next one.
    :param group_size: how many items are submitted at a time. Their intents are written together before, and may be
        lost together.
    :param max_cost: dollars; nothing more is submitted once the costs have reached it.
    :param stopped: why an earlier process of this try has stopped submitting.
    :param reuse: what is not to be submitted, because it is stored or another task submits it.
    """

    _state: BatchState

    def __init__(
        self,
        state: BatchState,
        service: Service,
        *,
        group_size: int,
        max_cost: float | None = None,
        stopped: KandinskyError | None = None,
        reuse: BatchReuse | None = None,
        longest_submission: float = LONGEST_SUBMISSION,
    ) -> None:
        super().__init__(state, service, send_within=_SEND_WITHIN)
        self.stopped = stopped
        self._group_size = group_size
        self._max_cost = max_cost
        self._reuse = reuse
        self._longest_submission = longest_submission
        #: Why there is room left, where a rate limit, an outage or the index has ended the submission.
        self.refusal: KandinskyError | None = None

    @property
    def has_more(self) -> bool:
        """Whether anything is left to be submitted, and is to be."""
        return self.stopped is None and next(self._state.wanted, None) is not None

    def submit_up_to(self, size: int) -> list[tuple[Item, JobRecord]]:
        """Submit until so many jobs are in flight.

        :param size: how many, those of earlier processes and tries included.
        :return: what is in flight: nothing when all is submitted, or nothing more is to be.
        :raises RateLimitedError: for longer than the client waits, and nothing is in flight.
        :raises ServiceUnavailableError: the same.
        :raises ReuseIndexError: it is not known what is stored, and nothing is in flight.
        """
        self._stop_at_max_cost()
        wanted = iter(list(self._state.wanted))
        in_flight, accepted = len(self._state.in_flight()), 0
        until = self._service.clock() + self._longest_submission
        self.refusal = None
        try:
            while in_flight < size and not (self.stopped or self.refusal) and self._service.clock() < until:
                group = list(islice(wanted, min(self._group_size, size - in_flight)))
                if not group:
                    break
                self.refusal = self.submit(group)
                records = map(self._state.record, group)
                in_flight_of_group = sum(record is not None and record.is_in_flight for record in records)
                in_flight, accepted = in_flight + in_flight_of_group, accepted + in_flight_of_group
        finally:
            # Also if this is cut short: what was accepted is known.
            self._state.write()
        is_over = self._service.clock() >= until
        if is_over and not (accepted or self.stopped or self.refusal) and next(wanted, None) is not None:
            self.stopped = ServiceUnavailableError(
                f"It was left out, because no submission was accepted within {self._longest_submission:.0f} s. "
                "Nothing was submitted for it"
            )
        if self.refusal is not None and not (in_flight or self.stopped):
            raise self.refusal
        return self._state.in_flight()

    def submit(self, group: Sequence[Item]) -> KandinskyError | None:
        if self._reuse is None:
            return super().submit(group)
        try:
            admitted = self._reuse.admit(group)
        except ReuseIndexError as not_known:
            return not_known
        try:
            return super().submit(admitted) if admitted else None
        finally:
            self._reuse.release(admitted)

    def _stop_at_max_cost(self) -> None:
        cost = self._state.cost()
        if self._max_cost is not None and cost >= self._max_cost and self.has_more:
            self.stopped = CostLimitError(
                f"It was left out, because the costs so far, ${cost:g}, have reached max_cost={self._max_cost!r}"
            )
