"""Read the request history: all requests of the account and their results.

The keys of a row are known from the vendor's own SDK. The key of the list of rows and that of the time are not: the one
list of objects in the body is taken, and the first time under a likely key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus, parse_request_id
from airflow_provider_kandinsky.segmind.wire.error_mapping import Purpose, error_from_status, unexpected_body
from airflow_provider_kandinsky.segmind.wire.images import collect_images, first_images
from airflow_provider_kandinsky.segmind.wire.response import Response
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in, number_in, parse_moment

_TIME_KEYS: Final = ("model_created", "created_at", "created", "timestamp")

_MAX_MODEL_LENGTH: Final = 200

#: Rows of one page; the vendor allows 100.
PAGE_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class PastRequest:
    """One request of the history.

    :param request_id: the job; empty if the history has no usable id.
    :param status: COMPLETED if the row of any image says so, FAILED if the rows of all say so, PROCESSING if one says
        that it is in flight, else UNKNOWN.
    :param payload: the inputs as sent.
    :param images: those that the history has, perhaps fewer than the job had.
    :param created_at: seconds since the epoch; ``None`` if unknown.
    :param cost: in US dollars; ``None`` is unknown.
    :param created_at_doubt: by how many seconds ``created_at`` may be wrong, if its row has no zone, or only a date.
    """

    request_id: str
    model: str
    status: JobStatus
    payload: Mapping[str, Any]
    images: tuple[Image, ...]
    created_at: float | None
    cost: float | None
    created_at_doubt: float = 0.0

    def matches_payload(self, payload: Mapping[str, Any]) -> bool:
        """Whether the request was made with this payload; parameters that the service added are ignored."""
        return all(name in self.payload and _same(self.payload[name], value) for name, value in payload.items())

    def is_before(self, moment: float) -> bool:
        """Whether the request was certainly made before a time, in seconds since the epoch."""
        return self.created_at is not None and self.created_at + self.created_at_doubt < moment

    def result(self) -> GenerationResult:
        """The result, with the images that the history has."""
        seed = integer_in(self.payload.get("seed"))
        return GenerationResult(
            request_id=self.request_id,
            images=self.images,
            model=self.model,
            seed=None if seed is None or seed < 0 else seed,
            cost=self.cost,
        )


def read_history(response: Response) -> list[PastRequest]:
    """Read one page of the history, newest first. A request of several images has a row for each; they are merged.

    :raises InvalidResponseError: there is no list of objects in the body, or none of them is a request.
    :raises KandinskyError: any status but 2xx; see :func:`~.error_mapping.error_from_status`.
    """
    if not response.is_success:
        raise error_from_status(response, Purpose.ACCOUNT)
    rows = _rows(response.json(), depth=4)
    found: dict[object, list[PastRequest]] = {}
    for row in filter(None, (_past_request(row, response) for row in rows or ())):
        # Rows without an id are never merged.
        found.setdefault(row.request_id or object(), []).append(row)
    # An empty list means that nothing was submitted; a list of other things means nothing.
    if rows is None or (rows and not found):
        raise unexpected_body("Unexpected response from history_url", response)
    return [merge_rows(rows_of_one) for rows_of_one in found.values()]


def read_past_request(response: Response) -> PastRequest | None:
    """Read the response for one request id; ``None`` if the history does not have it.

    :raises InvalidResponseError: the body is not a row of the history.
    :raises KandinskyError: any status but 2xx and 404; see :func:`~.error_mapping.error_from_status`.
    """
    if response.status == 404:
        return None
    if not response.is_success:
        raise error_from_status(response, Purpose.ACCOUNT)
    objects = (_past_request(each, response) for each in _objects(response.json(), depth=3))
    found = [each for each in objects if each is not None and each.request_id]
    # An envelope may have a request id of its own, but no inputs.
    past = max(found, key=lambda each: bool(each.payload), default=None)
    if past is None:
        raise unexpected_body("Unexpected response for one request from history_url", response)
    return merge_rows([each for each in found if each.request_id == past.request_id])


def _rows(body: Any, depth: int) -> list[dict[str, Any]] | None:
    """The one list of objects, at any depth. An empty history has an empty list."""
    if isinstance(body, list):
        rows = [row for row in body if isinstance(row, dict)]
        return rows if rows or not body else None
    if isinstance(body, dict) and depth:
        lists = (_rows(value, depth - 1) for value in body.values())
        found = [rows for rows in lists if rows is not None]
        return next((rows for rows in found if rows), found[0] if found else None)
    return None


def _objects(body: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The object itself and the objects in it."""
    if isinstance(body, dict):
        yield body
        for value in body.values() if depth else ():
            yield from _objects(value, depth - 1)
    elif isinstance(body, list) and depth:
        for value in body:
            yield from _objects(value, depth - 1)


def _past_request(row: Mapping[str, Any], response: Response) -> PastRequest | None:
    payload = row.get("request_body")
    if isinstance(payload, str):
        payload = response.parse(payload)
    request_id = parse_request_id(row.get("request_id")) or ""
    if not request_id and not isinstance(payload, dict):
        return None
    model = row.get("model_name")
    moments = (parse_moment(row[key]) for key in _TIME_KEYS if row.get(key))
    created = next(filter(None, moments), None)
    return PastRequest(
        request_id=request_id,
        model=model[:_MAX_MODEL_LENGTH] if isinstance(model, str) else "",
        status=_status_in(row.get("model_status")),
        payload=payload if isinstance(payload, dict) else {},
        images=collect_images(row.get("generation_url"), parse=response.parse),
        created_at=created and created.seconds,
        cost=amount_in(row.get("credits_deduction")),
        created_at_doubt=created.doubt if created else 0.0,
    )


def _status_in(value: object) -> JobStatus:
    """The status of a row. PENDING is the history's own word for a job in flight."""
    if isinstance(value, str) and value.strip().upper() == "PENDING":
        return JobStatus.PROCESSING
    return JobStatus.parse(value)


def merge_rows(rows: Sequence[PastRequest]) -> PastRequest:
    """Merge the rows of one request: one for each image, each with the whole cost."""
    if len(rows) == 1:
        return rows[0]
    statuses = {row.status for row in rows}
    unfinished = JobStatus.UNKNOWN
    if statuses == {JobStatus.FAILED}:
        unfinished = JobStatus.FAILED
    elif statuses & {JobStatus.QUEUED, JobStatus.PROCESSING}:
        unfinished = JobStatus.PROCESSING
    dated = next((row for row in rows if row.created_at is not None), rows[0])
    return replace(
        dated,
        model=next((row.model for row in rows if row.model), ""),
        status=JobStatus.COMPLETED if JobStatus.COMPLETED in statuses else unfinished,
        payload=next((row.payload for row in rows if row.payload), {}),
        images=first_images(image for row in rows for image in row.images),
        cost=next((row.cost for row in rows if row.cost is not None), None),
    )


def _same(found: Any, sent: Any) -> bool:
    """Whether two values are equal, even if the history returns numbers and booleans as text."""
    if found == sent:
        return True
    if isinstance(sent, bool):
        return isinstance(found, str) and found.lower() == str(sent).lower()
    if isinstance(sent, int):
        return integer_in(found) == sent
    sent_number = number_in(sent)
    return sent_number is not None and number_in(found) == sent_number
