"""Build the cards of one page from its items. Does no I/O but to read the allowed image hosts.

A card shows one generation: its arguments, and its images or its error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

import httpx

from airflow_provider_kandinsky.gallery.coerce import (
    as_text,
    integer,
    integer_argument,
    is_http_url,
    mapping,
    number,
    text,
)
from airflow_provider_kandinsky.gallery.items import Item, State, is_finished
from airflow_provider_kandinsky.gallery.task_records import TaskRecord
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
from airflow_provider_kandinsky.segmind.http.downloads import browser_url

log = logging.getLogger(__name__)

#: Returns the hosts that images may come from, by connection id.
FindImageHosts: TypeAlias = Callable[[str | None], Collection[str]]

_EXPIRED: Final = (
    f"No longer there: the service keeps images for {IMAGE_LIFETIME / 86400:.0f} days. "
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
#: Notes for task instances that did not run, by state.
_NOT_RUN: Final = {
    "skipped": "Skipped; nothing was submitted.",
    "upstream_failed": "Not run, for a task before it failed; nothing was submitted.",
    "removed": "Removed from the DAG before it ran.",
}


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    :param uri: its URL, or the URI of the stored file.
    :param is_stored: whether it is in the user's own storage.
    :param problem: why it is not shown; ``None`` if it is.
    """

    uri: str
    is_stored: bool
    problem: str | None = None

    @property
    def origin(self) -> str | None:
        """Scheme, host and port that the browser loads it from; ``None`` for stored and hidden images."""
        if self.is_stored or self.problem:
            return None
        url = httpx.URL(self.uri)
        return f"{url.scheme}://{url.netloc.decode()}"


@dataclass(frozen=True, slots=True)
class Card:
    """One generation as it is shown.

    :param prompt: its own, or that of the task that submitted its request.
    :param arguments: those besides prompt and seed, as text.
    :param key: the user's own name for it.
    :param is_reused: whether its images were stored before, and nothing was submitted.
    :param inference_time: seconds of inference.
    :param queue_time: seconds in the service's queue.
    :param note: shown in place of the image: the error, or why there is no image.
    """

    item: Item
    prompt: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    key: str | None = None
    is_reused: bool = False
    inference_time: float | None = None
    queue_time: float | None = None
    images: tuple[Image, ...] = ()
    note: str | None = None
    error_type: str | None = None


def build_cards(
    selected: Sequence[Item], items: Sequence[Item], now: datetime, find_image_hosts: FindImageHosts
) -> list[Card]:
    """Build the cards of some items. An item that raises gets a card that says so, and the others are still shown.

    :param selected: the items to build cards of.
    :param items: all items: a sensor's item has no arguments, and takes those of the task that submitted the request.
    :param now: images older than the service keeps them are not loaded.
    :param find_image_hosts: called with connection ids; may block.
    """
    submitted: dict[str, Mapping[str, object]] = {}
    if not all(item.prompt for item in selected):
        submitted = {item.request_id: item.arguments for item in items if item.request_id and item.prompt}
    cards = []
    for item in selected:
        try:
            arguments = item.arguments if item.prompt else submitted.get(item.request_id or "", item.arguments)
            cards.append(_card(item, arguments, now, find_image_hosts))
        except Exception:
            log.exception("Cannot build a card of %s [%s]", item.record.task_id, item.record.map_index)
            note = "This cannot be shown. The API server's log says why."
            broken = Item(item.record, item.position, note=note, is_of_batch=item.is_of_batch)
            cards.append(Card(broken, note=note))
    return cards


def _card(item: Item, arguments: Mapping[str, object], now: datetime, find_image_hosts: FindImageHosts) -> Card:
    row, error = item.row, mapping(item.row.get("error"))
    seeds = (integer(row.get("seed")), integer_argument(item.arguments.get("seed")))
    return Card(
        item,
        prompt=text(arguments.get("prompt")),
        arguments={
            as_text(name): as_text(value) for name, value in arguments.items() if name not in ("prompt", "seed")
        },
        seed=next((seed for seed in seeds if seed is not None), None),
        key=text(row.get("key")),
        is_reused=row.get("reused") is True,
        inference_time=number(row.get("inference_time")),
        queue_time=number(row.get("queue_time")),
        images=tuple(_image(uri, item.record, now, find_image_hosts) for uri in item.uris),
        note=item.note or _note(item),
        error_type=text(error.get("type")),
    )


def _note(item: Item) -> str | None:
    if error := mapping(item.row.get("error")):
        return text(error.get("message")) or "It failed."
    if item.uris:
        return None
    if item.state is State.FAILED:
        return _why_it_failed(item.record)
    if note := _NOT_RUN.get(item.record.state or ""):
        return note
    if not is_finished(item.record):
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


def _image(uri: str, record: TaskRecord, now: datetime, find_image_hosts: FindImageHosts) -> Image:
    """Decide whether an image may be shown."""
    if not is_http_url(uri):
        return Image(uri, is_stored=True, problem=_NOT_SERVED if record.output_folder is None else None)
    try:
        url = browser_url(uri, find_image_hosts(record.conn_id))
    except ImageRefusedError:
        return Image(uri, is_stored=False, problem=_REFUSED)
    is_expired = record.written_at is not None and (now - record.written_at).total_seconds() > IMAGE_LIFETIME
    return Image(url, is_stored=False, problem=_EXPIRED if is_expired else None)
