"""The items of a batch, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from airflow_provider_kandinsky.batch.closed import MIN_CHUNKS
from airflow_provider_kandinsky.batch.items import Item
from airflow_provider_kandinsky.batch.ledger import BatchEntry, BatchLedger
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus, TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

#: Stands for the arguments of what was submitted, where only their hashes are known.
UNKNOWN_REQUEST: Final = TextToImageRequest(prompt="(not known any more)", seed=-1)


class BatchState:
    """All purchases of a batch. What is noted here is kept by :meth:`write`, and then counted: what the ledger knows
    is not counted again by a later try.

    :param items: what is wanted.
    :param ledger: the task instance's.
    :param metrics: where purchases are counted.
    """

    def __init__(self, items: Sequence[Item], ledger: BatchLedger, metrics: JobMetrics) -> None:
        self.items = items
        self._places = {item.key: place for place, item in enumerate(items)}
        self._open_items = items
        self._ledger = ledger
        self._leave_closed()
        self._metrics = metrics
        self._uncounted: list[Callable[[], None]] = []

    @property
    def are_kept(self) -> bool:
        """Whether the next try will know of them."""
        return self._ledger.is_kept

    def entry(self, item: Item) -> BatchEntry | None:
        """How far an item has come; ``None`` if it is still to be bought."""
        return self._ledger.get(item.key, is_random=item.request.seed == -1)

    @property
    def wanted(self) -> Iterator[Item]:
        """The items that are still to be submitted."""
        return (item for item in self._open_items if self.entry(item) is None)

    def entries(self) -> list[tuple[Item, BatchEntry]]:
        """All that were begun, with how far they have come, :meth:`orphans` last."""
        return [*((item, entry) for item in self._open_items if (entry := self.entry(item))), *self.orphans()]

    def in_flight(self) -> list[tuple[Item, BatchEntry]]:
        """What was bought and is to be waited for."""
        return [(item, entry) for item, entry in self.entries() if entry.is_in_flight]

    def is_of_earlier_try(self, entry: BatchEntry) -> bool:
        """Whether this is the retry of the try that bought it."""
        return entry.try_number != self._ledger.try_number

    def orphans(self) -> list[tuple[Item, BatchEntry]]:
        """What was submitted by this try, or by an earlier one that it is a retry of, though its arguments are not
        among the items any more."""
        known = (self._ledger.get(entry.key) for entry in self._ledger if entry.key not in self._places)
        return [
            (Item(entry.key, UNKNOWN_REQUEST, ()), entry)
            for entry in known
            if entry and entry.request_id and not self.is_cleared(entry)
        ]

    def known_ids(self) -> set[str]:
        """The ids of all jobs that this task instance knows to be its own, whether it still wants them or not."""
        self.reopen()
        return {
            request_id
            for entry in self._ledger
            for request_id in (entry.request_id, *entry.earlier_ids)
            if request_id is not None
        }

    def cost(self) -> float:
        """Dollars, as far as the service has told them, for all that the ledger knows: also for what is not among the
        items any more, and for jobs in whose place others were submitted."""
        return round(self._ledger.closed.cost + sum(entry.cost for entry in self._ledger), 6)

    def note_intent(self, item: Item, now: float, send_by: float) -> None:
        """It is about to be submitted.

        :param now: seconds since the epoch.
        :param send_by: by when its POST has left, or never will, seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), intended_at=now, send_by=send_by, sent_at=None))

    def note_sent(self, item: Item, sent_at: float) -> None:
        """Its POST was sent, and the answer lost.

        :param sent_at: seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), sent_at=sent_at))

    def record_submitted(self, item: Item, request_id: str, submitted_at: float) -> None:
        """It was bought.

        :param submitted_at: seconds since the epoch.
        """
        self._ledger.put(replace(self._begun(item), request_id=request_id, submitted_at=submitted_at))
        self._uncounted.append(self._metrics.submitted)

    def adopt_from_history(self, item: Item, past: PastRequest | None) -> bool:
        """Take a request of the history for an item's.

        :return: whether there is one; one that failed was not billed, and counts as none.
        """
        if past is None:
            return False
        begun = self._begun(item)
        if past.status is JobStatus.FAILED:
            # Kept, so that it is not taken for what is submitted in its place.
            self._ledger.put(replace(begun, request_id=past.request_id))
            return False
        # By this machine's clock: the history's may be another, and in another zone.
        self.record_submitted(item, past.request_id, begun.sent_at or begun.intended_at)
        self._uncounted.append(partial(self._metrics.reattached, "history"))
        return True

    def note_result(self, item: Item, result: GenerationResult) -> None:
        """It is finished."""
        begun = self._begun(item)
        if begun.result is None:
            self._uncounted.append(partial(self._metrics.completed, result))
        self._ledger.put(replace(begun, result=result.with_seed(item.seed).to_dict()))

    def note_stored(self, item: Item, uris: list[str], output_path: str) -> None:
        """Its pictures are in the user's storage.

        :param output_path: the template of their names.
        """
        self._ledger.put(replace(self._begun(item), uris=uris, output_path=output_path))

    def note_failure(self, item: Item, error: KandinskyError) -> None:
        """There is nothing more of it in this try."""
        self._ledger.put(replace(self._begun(item), error=error.to_dict()))
        self._uncounted.append(partial(self._metrics.failed, error))

    def note_files_gone(self, item: Item) -> None:
        """Its stored images are not there any more."""
        self._ledger.put(replace(self._begun(item), uris=None, output_path=None))

    def reset(self, item: Item) -> None:
        """It was not submitted, or is to be submitted again."""
        self._ledger.reset(item.key)

    def is_cleared(self, entry: BatchEntry) -> bool:
        """Whether a user has cleared the task since."""
        return self._ledger.is_cleared(entry)

    def write(self) -> None:
        """Keep what was noted, and count it."""
        self._ledger.write()
        uncounted, self._uncounted = self._uncounted, []
        for count in uncounted:
            count()

    def count_reattached(self) -> None:
        """Count what earlier tries have bought and this one waits for."""
        for _, entry in self.in_flight():
            if self.is_of_earlier_try(entry):
                self._metrics.reattached("ledger")

    def count_skipped(self, error: KandinskyError) -> None:
        """Count what was not begun.

        :param error: why not.
        """
        for item in self.items:
            if self.entry(item) is None:
                self._metrics.failed(error)

    def carry(self) -> list[dict[str, Any]] | None:
        """See :meth:`~.ledger.BatchLedger.carry`."""
        return self._ledger.carry()

    def progress(self) -> dict[str, Any]:
        """How far the batch has come, in rows of what was asked for, and its cost in dollars."""
        rows = [(len(item.positions), entry) for item, entry in self.entries()]
        closed = self._ledger.closed
        return {
            "items": sum(len(item.positions) for item in self.items),
            "succeeded": closed.succeeded + sum(count for count, entry in rows if entry.result and not entry.error),
            "failed": closed.failed + sum(count for count, entry in rows if entry.error),
            "in_flight": sum(count for count, entry in rows if entry.is_in_flight),
            "cost": self.cost(),
        }

    def tell_progress(self) -> None:
        """Show people how far the batch has come."""
        self._ledger.write_progress(self.progress())

    def in_words(self) -> str:
        """How far the batch has come, for the log."""
        return "Of {items} items {succeeded} are done, {failed} have failed; cost so far: ${cost:g}".format_map(
            self.progress()
        )

    def close_done(self, is_done: Callable[[BatchEntry], bool]) -> None:
        """Leave what is done and written, until :meth:`reopen`, where there is much of it.

        :param is_done: whether nothing more is to be done about what has a result.
        """
        closed, chunks = self._ledger.closed, self._ledger.chunks
        if len(chunks) - closed.chunks < MIN_CHUNKS or not self._ledger.is_kept:
            return
        done: list[tuple[int, BatchEntry]] = []
        end = closed.chunks
        for chunk in chunks[closed.chunks : -1]:
            # What is not among the items stays as it is.
            items = [self.items[place] for key in chunk if (place := self._places.get(key)) is not None]
            entries = [self.entry(item) for item in items]
            if not all(entry and (entry.error or (entry.result and is_done(entry))) for entry in entries):
                break
            done += [(self._places[entry.key], entry) for entry in entries if entry]
            end += 1
        ranges = closed.ranges_with(place for place, _ in done)
        if end == closed.chunks or ranges is None:
            return
        rows = [(len(self.items[place].positions), entry) for place, entry in done]
        self._ledger.close(
            replace(
                closed,
                chunks=end,
                ranges=ranges,
                cost=closed.cost + sum(each.cost for chunk in chunks[closed.chunks : end] for each in chunk.values()),
                succeeded=closed.succeeded + sum(count for count, entry in rows if not entry.error),
                failed=closed.failed + sum(count for count, entry in rows if entry.error),
            )
        )
        self._leave_closed()

    def reopen(self) -> None:
        """Read all that was left as done."""
        self._ledger.read_all()
        self._open_items = self.items

    def _leave_closed(self) -> None:
        places = self._ledger.closed.places
        if places:
            self._open_items = [item for place, item in enumerate(self.items) if place not in places]

    def _begun(self, item: Item) -> BatchEntry:
        """An item's entry, as one of this try."""
        entry = self.entry(item) or self._ledger.open_entry(item.key)
        return replace(entry, try_number=self._ledger.try_number, max_tries=self._ledger.max_tries)
