"""What hangs in the gallery: from a task's XComs to cards. Does no I/O.

A card is one generation: what was asked for, and the pictures or the error that came of it. Everything here comes out
of XComs that others may have written, so whatever has not the shape it should have is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

import httpx

from airflow_provider_kandinsky.gallery.records import ENDED, TaskRecord
from airflow_provider_kandinsky.gallery.shapes import mapping, mappings, number, text, texts, whole
from airflow_provider_kandinsky.segmind.downloads import check_image_url
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
from airflow_provider_kandinsky.segmind.schemas import IMAGE_LIFETIME, TextToImageRequest

#: Gives the rows of a manifest, by its URI and when it was written, or says why they cannot be read.
ReadManifest: TypeAlias = Callable[[str, datetime | None], Sequence[Mapping[str, Any]] | str]
#: Gives the hosts that pictures may come from, by connection id.
FindHosts: TypeAlias = Callable[[str | None], Collection[str]]

_EXPIRED: Final = (
    f"No longer there: the service keeps pictures for {IMAGE_LIFETIME / 86400:.0f} days. "
    "With an output_path they are kept as long as you like."
)
_REFUSED: Final = (
    "Not shown: it is not at a host that pictures may come from, or not served over https. If you trust the host, add "
    "it to image_hosts in the connection."
)
#: The keys of what a task of ours tells.
_ARGUMENTS: Final = {*TextToImageRequest.model_fields, "model"}
_GENERATION: Final = {"request_id", "model", "seed", "cost"}
_COUNTS: Final = {"items", "succeeded", "failed", "cost"}
_ERROR: Final = {"type", "message"}


class CardState(StrEnum):
    """How a generation stands."""

    DONE = "done"
    FAILED = "failed"
    UNDER_WAY = "under way"
    WITHOUT_PICTURE = "without picture"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    :param address: its URL, or the URI of the stored file.
    :param is_stored: whether it is in the user's own storage.
    :param problem: why it is not shown, in a sentence.
    """

    address: str
    is_stored: bool
    problem: str | None = None

    @property
    def origin(self) -> str | None:
        """Scheme, host and port that it is loaded from, if from elsewhere."""
        if self.is_stored or self.problem:
            return None
        url = httpx.URL(self.address)
        return f"{url.scheme}://{url.netloc.decode()}"


@dataclass(frozen=True, slots=True)
class Card:
    """One generation.

    :param position: the item of a batch, 0 otherwise.
    :param arguments: what else was asked for, besides prompt and seed, as text.
    :param cost: in US dollars.
    :param inference_time: seconds of painting.
    :param queue_time: seconds before painting.
    :param note: a sentence in place of the picture: what failed, or why there is none.
    :param failures: how many generations have failed; more than one where a card stands for a whole batch.
    """

    record: TaskRecord
    state: CardState
    position: int = 0
    prompt: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    seed: int | None = None
    cost: float | None = None
    inference_time: float | None = None
    queue_time: float | None = None
    pictures: tuple[Picture, ...] = ()
    note: str | None = None
    error_type: str | None = None
    failures: int = 0


def hang(
    records: Sequence[TaskRecord], now: datetime, find_hosts: FindHosts, read_manifest: ReadManifest
) -> list[Card]:
    """Make the cards of task instances, in their order; of those that are none of ours, none.

    :param now: pictures that are older than the service keeps them are not asked for.
    """
    cards = [card for record in records for card in _cards(record, now, find_hosts, read_manifest)]
    # A sensor knows the request but not what was asked for; the task that has submitted it does.
    asked = {card.request_id: card for card in cards if card.request_id and card.prompt}
    return [
        replace(card, prompt=source.prompt, arguments=source.arguments)
        if card.prompt is None and (source := asked.get(card.request_id or ""))
        else card
        for card in cards
    ]


def _cards(record: TaskRecord, now: datetime, find_hosts: FindHosts, read_manifest: ReadManifest) -> Iterator[Card]:
    if not _is_ours(record.xcoms):
        return
    arguments, counts = record.xcoms.get("arguments"), mapping(record.xcoms.get("counts"))
    pictures = _PictureReader(record, now, find_hosts)
    if mappings(arguments) is None and not counts.keys() >= _COUNTS:
        yield _card(record, 0, mapping(arguments), _row(record.xcoms), pictures)
        return
    asked = mappings(arguments) or []
    found = mappings(record.xcoms.get("return_value")) or _in_manifest(record, read_manifest) or []
    if isinstance(found, str) or not (found or asked) or (not found and _has_ended(record)):
        yield _whole_batch(record, counts, len(asked), found if isinstance(found, str) else None)
        return
    for position in range(max(len(found), len(asked))):
        row = found[position] if position < len(found) else {}
        # The rows of a manifest have their own.
        arguments = asked[position] if position < len(asked) else mapping(row.get("arguments"))
        yield _card(record, position, arguments, row, pictures)


def _in_manifest(record: TaskRecord, read_manifest: ReadManifest) -> Sequence[Mapping[str, Any]] | str | None:
    manifest = text(record.xcoms.get("manifest"))
    return manifest and read_manifest(manifest, record.written_at)


def _has_ended(record: TaskRecord) -> bool:
    """Whether this try has: one that will be followed by another still has its error."""
    return record.state in ENDED or "error" in record.xcoms


def _is_ours(xcoms: Mapping[str, Any]) -> bool:
    """Other tasks may have XComs of the same names; none that are not ours have these shapes together."""
    arguments, generation = xcoms.get("arguments"), mapping(xcoms.get("generation"))
    asked = mappings(arguments) or [mapping(arguments)]
    counts, error = mapping(xcoms.get("counts")), mapping(xcoms.get("error"))
    return (
        all(text(each.get("prompt")) and each.keys() <= _ARGUMENTS for each in asked)
        or generation.keys() >= _GENERATION
        or counts.keys() >= _COUNTS
        or (error.keys() == _ERROR and "billed: " in (text(error["message"]) or ""))
    )


def _row(xcoms: Mapping[str, Any]) -> Mapping[str, Any]:
    """The XComs of one generation in the shape of a batch's row."""
    generation = mapping(xcoms.get("generation"))
    # Where storing has failed, the pictures are still at the service for a while.
    urls = texts(xcoms.get("return_value")) or texts(xcoms.get("source_urls"))
    request_id = text(generation.get("request_id")) or text(xcoms.get("request_id"))
    return {**generation, "urls": urls, "request_id": request_id, "error": xcoms.get("error")}


def _card(
    record: TaskRecord,
    position: int,
    arguments: Mapping[str, Any],
    row: Mapping[str, Any],
    pictures: _PictureReader,
) -> Card:
    error = mapping(row.get("error"))
    card = Card(
        record=record,
        state=CardState.DONE,
        position=position,
        prompt=text(arguments.get("prompt")),
        arguments={name: text(str(value)) or "" for name, value in arguments.items() if name not in ("prompt", "seed")},
        request_id=text(row.get("request_id")),
        seed=next((seed for seed in (whole(row.get("seed")), whole(arguments.get("seed"))) if seed is not None), None),
        cost=number(row.get("cost")),
        inference_time=number(row.get("inference_time")),
        queue_time=number(row.get("queue_time")),
        pictures=tuple(map(pictures.read, texts(row.get("urls")))),
    )
    if error:
        note = text(error.get("message")) or "It failed."
        return replace(card, state=CardState.FAILED, error_type=text(error.get("type")), note=note, failures=1)
    if card.pictures:
        return card
    if record.state in ("failed", "upstream_failed"):
        return replace(card, state=CardState.FAILED, note="The task failed; its log says why.", failures=1)
    if _has_ended(record):
        return replace(card, state=CardState.WITHOUT_PICTURE, note=_why_without(card, record))
    note = "Submitted; the picture is not there yet." if card.request_id else "No picture yet."
    return replace(card, state=CardState.UNDER_WAY, note=note)


def _why_without(card: Card, record: TaskRecord) -> str:
    if "generation" in record.xcoms:
        return "The picture's URL is not in XCom (do_xcom_push=False)."
    if card.request_id:
        return "Submitted; another task waits for the picture."
    return "No picture was told of."


def _whole_batch(record: TaskRecord, counts: Mapping[str, Any], asked: int, problem: str | None) -> Card:
    """In place of the items of a batch that are not known one by one."""
    error = mapping(record.xcoms.get("error"))
    items, failures = whole(counts.get("items")) or asked, whole(counts.get("failed")) or 0
    notes = [f"A batch of {items} items.", text(error.get("message")), problem]
    state = CardState.WITHOUT_PICTURE if _has_ended(record) else CardState.UNDER_WAY
    return Card(
        record,
        CardState.FAILED if error else state,
        cost=number(counts.get("cost")),
        note=" ".join(filter(None, notes)),
        error_type=text(error.get("type")),
        failures=failures or (1 if error else 0),
    )


class _PictureReader:
    """Tells pictures that may be shown from those that may not, for one task."""

    def __init__(self, record: TaskRecord, now: datetime, find_hosts: FindHosts) -> None:
        self._record = record
        self._find_hosts = find_hosts
        written_at = record.written_at
        self._expired = written_at is not None and (now - written_at).total_seconds() > IMAGE_LIFETIME

    def read(self, address: str) -> Picture:
        if not address.lower().startswith(("http:", "https:")):
            return Picture(address, is_stored=True)
        try:
            check_image_url(address, self._find_hosts(self._record.conn_id))
        except ImageRefusedError:
            return Picture(address, is_stored=False, problem=_REFUSED)
        # As it was understood here, so that no browser can understand it in another way.
        understood = str(httpx.URL(address).copy_with(userinfo=b"", fragment=None))
        return Picture(understood, is_stored=False, problem=_EXPIRED if self._expired else None)
