"""List the generations of a task instance, one item each. Does no I/O.

All items of a batch are counted, so an item is cheap; cards are built only of those that are shown. Rendered fields and
XComs are untrusted: values of the wrong type are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from airflow_provider_kandinsky.gallery.coerce import MAX_LISTED_ITEMS, integer, mapping, mappings, number, text, texts
from airflow_provider_kandinsky.gallery.task_records import FAILED_STATES, FINISHED_STATES, TaskKind, TaskRecord
from airflow_provider_kandinsky.segmind.request import TextToImageRequest

#: See :func:`.stored_files.read_manifest`.
ReadManifest: TypeAlias = Callable[[TaskRecord, str], Sequence[Mapping[str, Any] | None] | None]

#: The rendered fields that are a generation's arguments.
_ARGUMENTS: Final = (*TextToImageRequest.model_fields, "model")
_COUNTS: Final = {"items", "succeeded", "failed", "cost"}


class State(StrEnum):
    """The state of a generation."""

    DONE = "done"
    FAILED = "failed"
    UNDER_WAY = "under way"
    WITHOUT_IMAGE = "without image"


@dataclass(frozen=True, slots=True)
class Item:
    """One generation, or several that are not listed one by one.

    :param position: index in its batch; 0 otherwise.
    :param arguments: unchecked.
    :param row: the result or error, with the keys of a batch's row; unchecked.
    :param note: why it cannot be shown, or what it stands for.
    :param unlisted: the number of generations it stands for; 0 if it is a single one.
    :param failures: how many of those failed.
    :param is_of_batch: whether it is an item of a batch.
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
    def row_number(self) -> int | None:
        """Its number in its batch, from 1; ``None`` if it is not of a batch."""
        return self.position + 1 if self.is_of_batch else None

    @property
    def uris(self) -> list[str]:
        """The URLs of its images, or the URIs of the stored files."""
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
        # The failed items of a batch may all be among the listed ones.
        if self.record.state in FAILED_STATES and not (self.unlisted and self.position):
            return State.FAILED
        return State.WITHOUT_IMAGE if is_finished(self.record) else State.UNDER_WAY

    @property
    def has_failed(self) -> bool:
        """Whether it failed, or any that it stands for."""
        return self.state is State.FAILED or self.failures > 0


def is_finished(record: TaskRecord) -> bool:
    """Whether this try is finished, be it that a retry follows."""
    return record.state in FINISHED_STATES or record.state in FAILED_STATES or "error" in record.xcoms


def list_items(record: TaskRecord, read_manifest: ReadManifest) -> list[Item]:
    """List the generations of a Kandinsky task instance, in order.

    At most :data:`~.coerce.MAX_LISTED_ITEMS` items of a batch are listed; one more stands for the rest.
    """
    if record.unreadable:
        keys = ", ".join(record.unreadable)
        return [Item(record, note=f"This cannot be shown: XCom {keys} is too long, or nested too deeply.")]
    if record.kind is TaskKind.REVIEW:
        return list(_reviewed_items(record))
    if is_batch(record) and (record.xcoms or record.fields):
        return list(_batch_items(record, read_manifest))
    return [Item(record, 0, mapping(record.xcoms.get("arguments")) or _rendered(record), _row(record.xcoms))]


def _reviewed_items(record: TaskRecord) -> Iterator[Item]:
    """The images that a review shows, each alone, whether or not it was chosen."""
    images = record.xcoms.get("images")
    for position, entry in enumerate(images[:MAX_LISTED_ITEMS] if isinstance(images, list) else ()):
        row = mapping(entry) or {"urls": [entry]}
        arguments = mapping(row.get("arguments")) or {"prompt": row.get("prompt")}
        yield Item(record, position, arguments, row, is_of_batch=True)


def is_batch(record: TaskRecord) -> bool:
    """Whether it can have several generations."""
    if record.kind is TaskKind.BATCH or mappings(record.xcoms.get("arguments")) is not None:
        return True
    return mapping(record.xcoms.get("counts")).keys() >= _COUNTS


def _rendered(record: TaskRecord) -> Mapping[str, Any]:
    """The arguments among the rendered fields."""
    return _flat({name: record.fields[name] for name in _ARGUMENTS if record.fields.get(name) is not None})


def _flat(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments as they are sent: those that only the model has beside the others, in whose place they never come."""
    own = arguments.get("model_parameters")
    if not isinstance(own, Mapping):
        return arguments
    return {**own, **{name: value for name, value in arguments.items() if name != "model_parameters"}}


def _row(xcoms: Mapping[str, Any]) -> Mapping[str, Any]:
    """The XComs of one generation, with the keys of a batch's row."""
    generation = mapping(xcoms.get("generation"))
    # If storing failed, the images are still at the service.
    urls = texts(xcoms.get("return_value")) or texts(xcoms.get("source_urls"))
    request_id = text(generation.get("request_id")) or text(xcoms.get("request_id"))
    return {**generation, "urls": urls, "request_id": request_id, "error": xcoms.get("error")}


def _batch_items(record: TaskRecord, read_manifest: ReadManifest) -> Iterator[Item]:
    """The items of a batch up to the limit, then one for the rest."""
    requests = mappings(record.xcoms.get("arguments")) or _requests(record)
    manifest = text(record.xcoms.get("manifest"))
    rows: Sequence[Mapping[str, Any] | None] | None = mappings(record.xcoms.get("return_value"))
    if rows is None and manifest:
        rows = read_manifest(record, manifest)
    count = max(len(requests), len(rows or ()))
    if rows is None and (manifest or is_finished(record)):
        # The requests are known, but not their results.
        count = 0
    listed: list[Item] = []
    for position in range(min(count, MAX_LISTED_ITEMS)):
        row = rows[position] if rows is not None and position < len(rows) else {}
        if row is None:
            note = "This row of the manifest cannot be read."
            listed.append(Item(record, position, note=note, is_of_batch=True))
            continue
        # The rows of a manifest have their own arguments.
        arguments = requests[position] if position < len(requests) else mapping(row.get("arguments"))
        listed.append(Item(record, position, arguments, row, is_of_batch=True))
    yield from listed
    yield from _unlisted_item(record, listed, max(count, len(requests)), manifest)


def _requests(record: TaskRecord) -> list[Mapping[str, Any]]:
    """The requests among a batch's rendered fields; none if Airflow has truncated them."""
    requests, shared = record.fields.get("requests"), _rendered(record)
    if not isinstance(requests, list):
        return []
    return [{**shared, **({"prompt": each} if isinstance(each, str) else _flat(mapping(each)))} for each in requests]


def _unlisted_item(record: TaskRecord, listed: Sequence[Item], count: int, manifest: str | None) -> Iterator[Item]:
    """One item for those of a batch that are not listed, if any, so that the totals are right."""
    counts = mapping(record.xcoms.get("counts"))
    items = (integer(counts.get("items")) or count) - len(listed)
    if listed and items <= 0:
        return
    error = {} if listed else mapping(record.xcoms.get("error"))
    failures = (integer(counts.get("failed")) or 0) - sum(item.state is State.FAILED for item in listed)
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
