"""The items of a task, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from airflow_provider_kandinsky.durable.ledger import Ledger
from airflow_provider_kandinsky.durable.policy import is_cleared
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


class JobState:
    """All items of a task. What is noted here is kept by :meth:`write`, and then counted: what the ledger knows is not
    counted again by a later try.

    :param items: what is wanted.
    :param ledger: the task instance's.
    :param metrics: where submissions are counted.
    """

    def __init__(self, items: Sequence[Item], ledger: Ledger, metrics: JobMetrics) -> None:
        self.items = items
        #: Those about which there may be something to do.
        self._open_items = items
        self._ledger = ledger
        self.metrics = metrics
        self._uncounted: list[Callable[[], None]] = []

    @property
    def are_kept(self) -> bool:
        """Whether the next try will know of them."""
        return self._ledger.is_kept

    def record(self, item: Item) -> JobRecord | None:
        """How far an item has come; ``None`` if it is still to be submitted."""
        return self._ledger.get(item.key, is_random=item.request.seed == -1)

    @property
    def wanted(self) -> Iterator[Item]:
        """The items that are still to be submitted."""
        return (item for item in self._open_items if self.record(item) is None)

    def records(self) -> list[tuple[Item, JobRecord]]:
        """All that were begun, with how far they have come."""
        return [(item, record) for item in self._open_items if (record := self.record(item))]

    def in_flight(self) -> list[tuple[Item, JobRecord]]:
        """What was submitted and is to be waited for."""
        return [(item, record) for item, record in self.records() if record.is_in_flight]

    def is_of_earlier_try(self, record: JobRecord) -> bool:
        """Whether this is the retry of the try that submitted it."""
        return record.try_number != self._ledger.try_number

    def is_cleared(self, record: JobRecord) -> bool:
        """Whether a user has cleared the task since."""
        return is_cleared(record, self._ledger.max_tries)

    def known_ids(self) -> set[str]:
        """The ids of all jobs that this task instance knows to be its own, whether it still wants them or not."""
        return {request_id for record in self._ledger for request_id in record.known_ids}

    def unrecorded(self) -> list[tuple[Item, JobRecord]]:
        """What earlier tries may have submitted, though nothing is recorded of it, as if they had left intents."""
        if (unrecorded := self._ledger.unrecorded) is None or not self.are_kept:
            return []
        # With the seed -1 a clear asks for another image.
        return [(item, unrecorded.record(item.key)) for item in self.wanted if item.request.seed != -1]

    def note_presumed(self, record: JobRecord) -> None:
        """Keep what is presumed of an item, as there may be something to it; see :meth:`unrecorded`."""
        self._ledger.put(record)

    def note_intent(self, item: Item, now: float, send_by: float) -> None:
        """It is about to be submitted.

        :param now: seconds since the epoch.
        :param send_by: by when its POST has left, or never will, seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), intended_at=now, send_by=send_by, sent_at=None))

    def note_sent(self, item: Item, sent_at: float) -> None:
        """Its POST was sent, and the response lost.

        :param sent_at: seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), sent_at=sent_at))

    def record_submitted(self, item: Item, request_id: str, submitted_at: float) -> None:
        """It was submitted.

        :param submitted_at: seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), request_id=request_id, submitted_at=submitted_at))
        self._uncounted.append(self.metrics.submitted)

    def adopt_from_history(self, item: Item, past: PastRequest) -> bool:
        """Take a request of the history for an item's.

        :return: whether it counts; one that failed was not billed.
        """
        begun = self._begun(item)
        if past.status is JobStatus.FAILED:
            # Kept, so that it is not taken for what is submitted in its place.
            self._ledger.put(replace(begun, request_id=past.request_id))
            return False
        if (presumed := self.record(item)) is not None and presumed.presumed:
            # It was counted by the try that submitted it.
            known = replace(presumed, request_id=past.request_id, submitted_at=_submitted_at(presumed, past))
            self._ledger.put(replace(known, presumed=False))
            return True
        # By this machine's clock: the history's may be another, and in another zone.
        self.record_submitted(item, past.request_id, begun.sent_at or begun.intended_at)
        self._uncounted.append(partial(self.metrics.reattached, "history"))
        return True

    def note_reattached(self, item: Item, *, is_known: bool = False) -> None:
        """The job of an earlier try is this one's from now on.

        :param is_known: whether the service knows it, so that a later 404 is to be waited out, too.
        """
        if (record := self.record(item)) is not None:
            not_found = record.not_found and not is_known
            self._ledger.put(replace(record, try_number=self._ledger.try_number, not_found=not_found))

    def note_not_found(self, item: Item) -> None:
        """For a whole wait the service knew nothing of its job."""
        if (record := self.record(item)) is not None:
            self._ledger.put(replace(record, not_found=True))

    def note_result(self, item: Item, result: GenerationResult) -> None:
        """It is finished."""
        self._ledger.put(replace(self._begun(item), result=result.with_seed(item.seed).to_dict()))

    def note_failure(self, item: Item, error: KandinskyError) -> None:
        """There is nothing more of it in this try."""
        self._ledger.put(replace(self._begun(item), error=error.to_dict()))

    def reset(self, item: Item) -> None:
        """It was not submitted, or is to be submitted again."""
        self._ledger.reset(item.key)

    def write(self) -> None:
        """Keep what was noted, and count it."""
        self._ledger.write()
        uncounted, self._uncounted = self._uncounted, []
        for count in uncounted:
            count()

    def _begun(self, item: Item) -> JobRecord:
        """An item's record, as one of this try."""
        record = self.record(item) or self._ledger.open_record(item.key)
        return replace(record, try_number=self._ledger.try_number, max_tries=self._ledger.max_tries)


def _submitted_at(presumed: JobRecord, past: PastRequest) -> float:
    """When a job was submitted of which only the history knows, seconds since the epoch.

    Rather too late than too early, so that the wait for one that is not finished does not end too soon.
    """
    found_at = presumed.send_by or presumed.intended_at
    if past.created_at is None or past.status is not JobStatus.COMPLETED:
        return found_at
    return min(found_at, past.created_at + past.created_at_doubt)
