"""The items of a batch: also those that are closed or not wanted any more, their counts and their costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.closed import MIN_CHUNKS
from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.state import JobState
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.reuse_entry import StoredRequest
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

#: Stands for the arguments of what was submitted, where only their hashes are known: not even how many images it makes.
UNKNOWN_REQUEST: Final = TextToImageRequest(
    prompt="(not known any more)", seed=-1, model_parameters={"others": "not known"}
)


class BatchState(JobState):
    """All items of a batch.

    :param items: what is wanted.
    :param ledger: the task instance's.
    :param metrics: where jobs are counted.
    """

    _ledger: BatchLedger

    def __init__(self, items: Sequence[Item], ledger: BatchLedger, metrics: JobMetrics) -> None:
        super().__init__(items, ledger, metrics)
        self._places = {item.key: place for place, item in enumerate(items)}
        self._leave_closed()

    @classmethod
    def of_task(cls, context: Context, model: str, items: Sequence[Item], ledger: BatchLedger) -> Self:
        """The state of the running task, with its metrics.

        :param model: the slug.
        """
        return cls(items, ledger, JobMetrics.of_task(context["ti"], model))

    def records(self) -> list[tuple[Item, JobRecord]]:
        """All that were begun, with how far they have come, :meth:`orphans` last."""
        return [*super().records(), *self.orphans()]

    def orphans(self) -> list[tuple[Item, JobRecord]]:
        """What was submitted by this try, or by an earlier one that it is a retry of, though its arguments are not
        among the items any more."""
        known = (self._ledger.get(record.key) for record in self._ledger if record.key not in self._places)
        return [
            (Item(record.key, UNKNOWN_REQUEST, ()), record)
            for record in known
            if record and record.request_id and not self.is_cleared(record)
        ]

    def known_ids(self) -> set[str]:
        self.reopen()
        return super().known_ids()

    def cost(self) -> float:
        """Dollars, as far as the service has reported them, for all that the ledger knows: also for what is no longer
        among the items, and for jobs in whose place others were submitted."""
        return round(self._ledger.closed.cost + sum(record.cost for record in self._ledger), 6)

    def note_result(self, item: Item, result: GenerationResult) -> None:
        record = self.record(item)
        if record is None or record.result is None:
            self._uncounted.append(partial(self.metrics.completed, result))
        super().note_result(item, result)

    def note_failure(self, item: Item, error: KandinskyError) -> None:
        super().note_failure(item, error)
        self._uncounted.append(partial(self.metrics.failed, error))

    def note_stored(self, item: Item, uris: list[str], output_path: str) -> None:
        """Its images are in the user's storage.

        :param output_path: the template of their names.
        """
        self._ledger.put(replace(self._begun(item), uris=uris, output_path=output_path))

    def note_reused(self, item: Item, stored: StoredRequest, output_path: str) -> None:
        """Its images are in the user's storage already, so that nothing is submitted.

        :param output_path: the template of the names of what this task stores.
        """
        result = stored.result().with_seed(item.seed).to_dict()
        record = replace(self._begun(item), request_id=stored.request_id, result=result, uris=stored.uris)
        self._ledger.put(replace(record, output_path=output_path, reused=True))
        self._uncounted.append(self.metrics.reused)

    def note_files_gone(self, item: Item) -> None:
        """Its stored images are not there any more."""
        self._ledger.put(replace(self._begun(item), uris=None, output_path=None))

    def count_reattached(self) -> None:
        """Count what earlier tries have submitted and this one waits for."""
        for _, record in self.in_flight():
            if self.is_of_earlier_try(record):
                self.metrics.reattached("ledger")

    def count_skipped(self, error: KandinskyError) -> None:
        """Count what was not begun.

        :param error: why not.
        """
        for item in self.items:
            if self.record(item) is None:
                self.metrics.failed(error)

    def carry_over(self) -> dict[str, Any]:
        """See :meth:`~.ledger.BatchLedger.carry_over`."""
        return self._ledger.carry_over()

    def progress(self) -> dict[str, Any]:
        """How far the batch has come, in rows of what was asked for, and its cost in dollars."""
        rows = [(len(item.positions), record) for item, record in self.records()]
        closed = self._ledger.closed
        return {
            "items": sum(len(item.positions) for item in self.items),
            "succeeded": closed.succeeded + sum(count for count, record in rows if record.result and not record.error),
            "failed": closed.failed + sum(count for count, record in rows if record.error),
            "in_flight": sum(count for count, record in rows if record.is_in_flight),
            "cost": self.cost(),
        }

    def write_progress(self) -> None:
        """Show people how far the batch has come."""
        self._ledger.write_progress(self.progress())

    def summary(self) -> str:
        """How far the batch has come, for the log."""
        return "Of {items} items {succeeded} are done, {failed} have failed; cost so far: ${cost:g}".format_map(
            self.progress()
        )

    def close_done(self, is_done: Callable[[JobRecord], bool]) -> None:
        """Leave what is done and written, until :meth:`reopen`, where there is much of it.

        :param is_done: whether nothing more is to be done about what has a result.
        """
        closed, chunks = self._ledger.closed, self._ledger.chunks
        if len(chunks) - closed.chunks < MIN_CHUNKS or not self._ledger.is_kept:
            return
        done: list[tuple[int, JobRecord]] = []
        end = closed.chunks
        waited_for = {item.key for item, record in self.orphans() if record.is_in_flight}
        for chunk in chunks[closed.chunks : -1]:
            if not waited_for.isdisjoint(chunk):
                break
            # What else is not among the items stays as it is.
            items = [self.items[place] for key in chunk if (place := self._places.get(key)) is not None]
            records = [self.record(item) for item in items]
            if not all(record and (record.error or (record.result and is_done(record))) for record in records):
                break
            done += [(self._places[record.key], record) for record in records if record]
            end += 1
        ranges = closed.ranges_with(place for place, _ in done)
        if end == closed.chunks or ranges is None:
            return
        rows = [(len(self.items[place].positions), record) for place, record in done]
        self._ledger.close(
            replace(
                closed,
                chunks=end,
                ranges=ranges,
                cost=closed.cost + sum(each.cost for chunk in chunks[closed.chunks : end] for each in chunk.values()),
                succeeded=closed.succeeded + sum(count for count, record in rows if not record.error),
                failed=closed.failed + sum(count for count, record in rows if record.error),
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
