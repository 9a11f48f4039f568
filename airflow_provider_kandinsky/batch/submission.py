"""Submit the items of a batch in waves."""

from __future__ import annotations

from itertools import islice
from typing import Final

from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.errors import CostLimitError
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.submission import Submission
from airflow_provider_kandinsky.segmind.constants import MAX_CONNECTIONS
from airflow_provider_kandinsky.segmind.errors import KandinskyError, ServiceUnavailableError

#: How long the submission of a wave may last, in seconds: with a small rate limit the service would else forget the
#: first jobs of a wave before the last one is submitted.
LONGEST_SUBMISSION: Final = 300.0
#: By how many seconds after the intents of a group its last POST has left, or is not sent.
_SEND_WITHIN: Final = 60.0


class BatchSubmission(Submission):
    """Submits waves.

    :param state: what is wanted, and how far it has come; see :class:`~.durable.submission.Submission` for it and
        the next one.
    :param max_cost: dollars; no wave is begun once the costs have reached it.
    :param stopped: why an earlier process of this try has stopped submitting.
    """

    _state: BatchState

    def __init__(
        self,
        state: BatchState,
        service: Service,
        *,
        max_cost: float | None = None,
        stopped: KandinskyError | None = None,
        longest_submission: float = LONGEST_SUBMISSION,
    ) -> None:
        super().__init__(state, service, send_within=_SEND_WITHIN)
        self.stopped = stopped
        self._max_cost = max_cost
        self._longest_submission = longest_submission

    def submit_wave(self, size: int) -> list[tuple[Item, JobRecord]]:
        """Submit until so many jobs are in flight.

        :param size: how many, those of earlier waves and tries included.
        :return: what is in flight: nothing when all is submitted, or nothing more is to be.
        :raises RateLimitedError: for longer than the client waits, and nothing is in flight.
        :raises ServiceUnavailableError: the same.
        """
        wanted_items = list(self._state.wanted)
        cost = self._state.cost()
        if wanted_items and self._max_cost is not None and cost >= self._max_cost:
            self.stopped = CostLimitError(
                f"It was left out, because the costs so far, ${cost:g}, have reached max_cost={self._max_cost!r}"
            )
        wanted = iter(wanted_items)
        in_flight = len(self._state.in_flight())
        until = self._service.clock() + self._longest_submission
        refusal: KandinskyError | None = None
        try:
            while in_flight < size and not (self.stopped or refusal) and self._service.clock() < until:
                group = list(islice(wanted, min(MAX_CONNECTIONS, size - in_flight)))
                if not group:
                    break
                refusal = self.submit(group)
                records = map(self._state.record, group)
                in_flight += sum(record is not None and record.is_in_flight for record in records)
        finally:
            # Also if this is cut short: what was accepted is known.
            self._state.write()
        if in_flight or self.stopped:
            return self._state.in_flight()[:size]
        if refusal is not None:
            raise refusal
        if next(wanted, None) is not None:
            self.stopped = ServiceUnavailableError(
                f"It was left out, because no submission was accepted within {self._longest_submission:.0f} s. "
                "Nothing was submitted for it"
            )
        return self._state.in_flight()[:size]
