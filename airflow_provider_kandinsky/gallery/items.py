"""What there is to show: from a task instance to one item for each generation. Does no I/O.

All items of a batch are counted, so making one is cheap; the cards of those that are shown are made from them.
Everything here comes out of rendered fields and XComs that others may have written, so whatever has not the shape it
should have is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from airflow_provider_kandinsky.gallery.coerce import MAX_LISTED_ITEMS, mapping, mappings, number, text, texts, whole
from airflow_provider_kandinsky.gallery.task_records import FINISHED_STATES, FAILED_STATES, TaskKind, TaskRecord
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

#: Gives the first rows of a task's manifest by its URI, ``None`` for a row that cannot be read; ``None`` if none can.
ReadManifest: TypeAlias = Callable[[TaskRecord, str], Sequence[Mapping[str, Any] | None] | None]

#: The rendered fields that say what was asked for.
_ARGUMENTS: Final = (*TextToImageRequest.model_fields, "model")
_COUNTS: Final = {"items", "succeeded", "failed", "cost"}


class State(StrEnum):
    """How a generation stands."""

    DONE = "done"
    FAILED_STATES = "failed"
    UNDER_WAY = "under way"
    WITHOUT_IMAGE = "without image"


@dataclass(frozen=True, slots=True)
class Item:
    """One generation, or several that are not listed one by one.

    :param position: the item of a batch, 0 otherwise.
    :param arguments: what was asked for, as it was found.
    :param row: what came of it, in the shape of a batch's row, as it was found.
    :param note: a sentence in place of what cannot be shown.
    :param unlisted: for how many generations it stands, if not for one.
    :param failures: how many of those have failed.
    :param is_of_batch: whether it is one of several in its task.
    """

    record: TaskRecord
    position: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    unlisted: int = 0
    failures: int = 0
    is_of_batch: bool = False

    @property
    def uris(self) -> list[str]:
        """Of its images."""
        return texts(self.row.get("urls"))

    @property
    def prompt(self) -> str | None:
        return text(self.arguments.get("prompt"))

    @property
    def request_id(self) -> str | None:
        return text(self.row.get("request_id"))

    @property
    def cost(self) -> float | None:
        """In US dollars."""
        return number(self.row.get("cost"))

    @property
    def state(self) -> State:
        if mapping(self.row.get("error")):
            return State.FAILED
        if self.uris:
            return State.DONE
        if self.note and not self.unlisted:
            return State.WITHOUT_IMAGE
        # Those of a batch that are not listed beside others need not be those that failed.
        if self.record.state in FAILED_STATES and not (self.unlisted and self.position):
            return State.FAILED
        return State.WITHOUT_IMAGE if is_finished(self.record) else State.UNDER_WAY

    @property
    def has_failed(self) -> bool:
        """Whether it has, or some of those that it stands for."""
        return self.state is State.FAILED or self.failures > 0


def is_finished(record: TaskRecord) -> bool:
    """Whether this try has: one that will be followed by another has failed."""
    return record.state in FINISHED_STATES or record.state in FAILED_STATES or "error" in record.xcoms


def list_items(record: TaskRecord, read_manifest: ReadManifest) -> list[Item]:
    """List the generations of a task instance of ours, in their order.

    Of a batch, no more than :data:`~.coerce.MAX_LISTED_ITEMS` are listed one by one.
    """
    if record.unreadable:
        keys = ", ".join(record.unreadable)
        return [Item(record, note=f"This cannot be shown: XCom {keys} is too long, or nested too deeply.")]
    if is_batch(record) and (record.xcoms or record.fields):
        return list(_batch(record, read_manifest))
    return [Item(record, 0, mapping(record.xcoms.get("arguments")) or _rendered(record), _row(record.xcoms))]


def is_batch(record: TaskRecord) -> bool:
    """Whether it may have several generations."""
    if record.kind is TaskKind.BATCH or mappings(record.xcoms.get("arguments")) is not None:
        return True
    return mapping(record.xcoms.get("counts")).keys() >= _COUNTS


def _rendered(record: TaskRecord) -> Mapping[str, Any]:
    """What was asked for, as far as the rendered fields say so."""
    return {name: record.fields[name] for name in _ARGUMENTS if record.fields.get(name) is not None}


def _row(xcoms: Mapping[str, Any]) -> Mapping[str, Any]:
    """The XComs of one generation in the shape of a batch's row."""
    generation = mapping(xcoms.get("generation"))
    # Where storing has failed, the images are still at the service for a while.
    urls = texts(xcoms.get("return_value")) or texts(xcoms.get("source_urls"))
    request_id = text(generation.get("request_id")) or text(xcoms.get("request_id"))
    return {**generation, "urls": urls, "request_id": request_id, "error": xcoms.get("error")}


def _batch(record: TaskRecord, read_manifest: ReadManifest) -> Iterator[Item]:
    """The items of a batch, as many as may be listed; then one for all that are left."""
    asked = mappings(record.xcoms.get("arguments")) or _requests(record)
    manifest = text(record.xcoms.get("manifest"))
    found: Sequence[Mapping[str, Any] | None] | None = mappings(record.xcoms.get("return_value"))
    if found is None and manifest:
        found = read_manifest(record, manifest)
    count = len(asked) if found is None else max(len(asked), len(found))
    if found is None and (manifest or is_finished(record)):
        # What was asked for is known, but not what came of each.
        count = 0
    listed: list[Item] = []
    for position in range(min(count, MAX_LISTED_ITEMS)):
        row = found[position] if found is not None and position < len(found) else {}
        if row is None:
            note = "This row of the manifest cannot be read."
            listed.append(Item(record, position, note=note, is_of_batch=True))
            continue
        # The rows of a manifest have their own.
        arguments = asked[position] if position < len(asked) else mapping(row.get("arguments"))
        listed.append(Item(record, position, arguments, row, is_of_batch=True))
    yield from listed
    yield from _unlisted(record, listed, max(count, len(asked)), manifest)


def _requests(record: TaskRecord) -> list[Mapping[str, Any]]:
    """The requests of a batch by its rendered fields, which Airflow cuts where they are long: then none."""
    requests, shared = record.fields.get("requests"), _rendered(record)
    if not isinstance(requests, list):
        return []
    return [{**shared, **({"prompt": each} if isinstance(each, str) else mapping(each))} for each in requests]


def _unlisted(record: TaskRecord, listed: Sequence[Item], count: int, manifest: str | None) -> Iterator[Item]:
    """In place of the items of a batch that are not listed, if any: so that the sums are right."""
    counts = mapping(record.xcoms.get("counts"))
    items = (whole(counts.get("items")) or count) - len(listed)
    if listed and items <= 0:
        return
    error = {} if listed else mapping(record.xcoms.get("error"))
    failures = (whole(counts.get("failed")) or 0) - sum(item.state is State.FAILED for item in listed)
    cost = number(counts.get("cost"))
    if cost is not None:
        cost -= sum({item.request_id: item.cost or 0.0 for item in listed}.values())
    notes = [
        _summary(items, bool(listed)),
        text(error.get("message")),
        "The task failed; its log says why." if record.state in FAILED_STATES and not (listed or error) else None,
        f"Each of them is in the manifest {manifest}." if manifest else None,
    ]
    yield Item(
        record,
        len(listed),
        row={"error": error, "cost": cost},
        note=" ".join(filter(None, notes)),
        unlisted=max(items, 1),
        failures=max(failures, 1 if error or record.state in FAILED_STATES else 0),
    )


def _summary(items: int, is_rest: bool) -> str:
    if is_rest:
        return f"And {items} more items of this batch, which are not listed."
    return f"A batch of {items} items." if items > 0 else "A batch."
