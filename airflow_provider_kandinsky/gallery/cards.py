"""From items to cards, of one page only. Does no I/O but to ask for the hosts.

A card is one generation: what was asked for, and the images or the error that came of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

import httpx

from airflow_provider_kandinsky.gallery.coerce import mapping, number, shown, text, whole, whole_number
from airflow_provider_kandinsky.gallery.items import Item, State, has_ended
from airflow_provider_kandinsky.gallery.task_records import TaskRecord
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
from airflow_provider_kandinsky.segmind.http.downloads import browser_url
from airflow_provider_kandinsky.segmind.schemas import IMAGE_LIFETIME

log = logging.getLogger(__name__)

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
_NOT_SERVED: Final = (
    "Stored, and not shown here: [kandinsky] gallery_serves_files is off, or Airflow no longer has the output_path of "
    "this task."
)
#: What is said of task instances that were not run.
_NOT_RUN: Final = {
    "skipped": "Skipped; nothing was submitted.",
    "upstream_failed": "Not run, for a task before it failed; nothing was submitted.",
    "removed": "Removed from the DAG before it ran.",
}


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
    :param row: which of a batch's requests it is, from 1; ``None`` if it is of no batch.
    :param arguments: what else was asked for, besides prompt and seed, as text.
    :param cost: in US dollars.
    :param inference_time: seconds of painting.
    :param queue_time: seconds before painting.
    :param note: a sentence in place of the picture: what failed, or why there is none.
    """

    record: TaskRecord
    state: State
    position: int = 0
    row: int | None = None
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


def make_cards(selected: Sequence[Item], items: Sequence[Item], now: datetime, find_hosts: FindHosts) -> list[Card]:
    """Make the cards of some items. One that cannot be made says so, and breaks no other.

    :param selected: the items to make cards of.
    :param items: all items: a sensor knows the request but not what was asked for; the task that submitted it does.
    :param now: pictures that are older than the service keeps them are not asked for.
    """
    asked: dict[str, Mapping[str, object]] = {}
    if not all(item.prompt for item in selected):
        asked = {item.request_id: item.arguments for item in items if item.request_id and item.prompt}
    cards = []
    for item in selected:
        try:
            arguments = item.arguments if item.prompt else asked.get(item.request_id or "", item.arguments)
            cards.append(_card(item, arguments, now, find_hosts))
        except Exception:
            log.exception("A card of %s [%s] cannot be made", item.record.task_id, item.record.map_index)
            note = "This cannot be shown. The API server's log says why."
            cards.append(Card(item.record, State.WITHOUT_PICTURE, item.position, _row_number(item), note=note))
    return cards


def _card(item: Item, arguments: Mapping[str, object], now: datetime, find_hosts: FindHosts) -> Card:
    row, error = item.row, mapping(item.row.get("error"))
    seeds = (whole(row.get("seed")), whole_number(item.arguments.get("seed")))
    return Card(
        record=item.record,
        state=item.state,
        position=item.position,
        row=_row_number(item),
        prompt=text(arguments.get("prompt")),
        arguments={shown(name): shown(value) for name, value in arguments.items() if name not in ("prompt", "seed")},
        request_id=item.request_id,
        seed=next((seed for seed in seeds if seed is not None), None),
        cost=item.cost,
        inference_time=number(row.get("inference_time")),
        queue_time=number(row.get("queue_time")),
        pictures=tuple(_picture(address, item.record, now, find_hosts) for address in item.addresses),
        note=item.note or _note(item),
        error_type=text(error.get("type")),
    )


def _row_number(item: Item) -> int | None:
    return item.position + 1 if item.is_of_batch else None


def _note(item: Item) -> str | None:
    if error := mapping(item.row.get("error")):
        return text(error.get("message")) or "It failed."
    if item.addresses:
        return None
    if item.state is State.FAILED:
        return _why_it_failed(item.record)
    if note := _NOT_RUN.get(item.record.state or ""):
        return note
    if not has_ended(item.record):
        return "Submitted; the picture is not there yet." if item.request_id else "No picture yet."
    if "generation" in item.record.xcoms:
        return "The picture's URL is not in XCom (do_xcom_push=False)."
    if item.request_id:
        return "Submitted; another task waits for the picture."
    return "The task ended without a picture."


def _why_it_failed(record: TaskRecord) -> str:
    if not record.fields and not record.xcoms:
        return "The task failed before it had its arguments, and has submitted nothing; its log says why."
    return "The task failed; its log says why."


def _picture(address: str, record: TaskRecord, now: datetime, find_hosts: FindHosts) -> Picture:
    """Tell a picture that may be shown from one that may not."""
    if not address.lower().startswith(("http:", "https:")):
        return Picture(address, is_stored=True, problem=_NOT_SERVED if record.place is None else None)
    try:
        understood = browser_url(address, find_hosts(record.conn_id))
    except ImageRefusedError:
        return Picture(address, is_stored=False, problem=_REFUSED)
    is_expired = record.written_at is not None and (now - record.written_at).total_seconds() > IMAGE_LIFETIME
    return Picture(understood, is_stored=False, problem=_EXPIRED if is_expired else None)
