"""The request history: what was asked of the service, at any time, and what came of it. It is only ever read.

The keys of a row are known from the vendor's own SDK; the key of the list that holds the rows, and that of the
time, are not: the one list of objects in the body is taken, and the first time among the likely ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_provider_kandinsky.segmind.errors import InvalidResponseError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus, parse_request_id
from airflow_provider_kandinsky.segmind.wire.error_mapping import (
    Purpose,
    Response,
    error_from_status,
    error_text,
)
from airflow_provider_kandinsky.segmind.wire.images import collect_images, first_images
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in, number_in, parse_moment

_TIME_KEYS: Final = ("model_created", "created_at", "created", "timestamp")

_LONGEST_MODEL: Final = 200

#: Rows asked for at once; the vendor allows 100.
PAGE_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class PastRequest:
    """One request of the history.

    :param request_id: the job; empty if the history names none that could be asked for.
    :param status: COMPLETED if that is said of any of its images, FAILED if of all of them, else UNKNOWN, which is not
        finished.
    :param payload: the inputs as they were sent.
    :param images: what it gave; as many as the history tells of.
    :param created_at: seconds since the epoch; ``None`` if the history does not tell.
    :param cost: in US dollars; ``None`` is unknown.
    :param created_at_doubt: by how many seconds ``created_at`` may be wrong, because no zone is told, or a date alone.
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
        """Whether it was made with this payload; what the service may have added to it does not count."""
        return all(name in self.payload and _same(self.payload[name], value) for name, value in payload.items())

    def result(self) -> GenerationResult:
        """The pictures it gave, as far as the history tells."""
        seed = integer_in(self.payload.get("seed"))
        return GenerationResult(
            request_id=self.request_id,
            images=self.images,
            model=self.model,
            seed=None if seed is None or seed < 0 else seed,
            cost=self.cost,
        )


def read_history(answer: Response) -> list[PastRequest]:
    """Read one page of the history, in its order (newest first). A request of several pictures has a row for each;
    they become one.

    :raises InvalidResponseError: there is no list of objects in the body, or not one of them is a request.
    :raises KandinskyError: what the status means, unless it is 2xx.
    """
    if not answer.is_success:
        raise error_from_status(answer, Purpose.ACCOUNT)
    rows = _rows(answer.json(), depth=4)
    found: dict[object, list[PastRequest]] = {}
    for row in filter(None, (_past_request(row, answer) for row in rows or ())):
        # Rows whose id is not known have nothing in common.
        found.setdefault(row.request_id or object(), []).append(row)
    # An empty list says that nothing was submitted; one of something else says nothing.
    if rows is None or (rows and not found):
        raise InvalidResponseError(f"This is no request history: {error_text(answer)}", http_status=answer.status)
    return [_merged(rows_of_one) for rows_of_one in found.values()]


def read_past_request(answer: Response) -> PastRequest | None:
    """Read one request asked for by its id; ``None`` if the history does not have it.

    :raises InvalidResponseError: the body is not a row of the history.
    :raises KandinskyError: what the status means, unless it is 2xx or 404.
    """
    if answer.status == 404:
        return None
    if not answer.is_success:
        raise error_from_status(answer, Purpose.ACCOUNT)
    objects = (_past_request(each, answer) for each in _objects(answer.json(), depth=3))
    found = [each for each in objects if each is not None and each.request_id]
    # An envelope may have a request id of its own, but not the inputs.
    past = max(found, key=lambda each: bool(each.payload), default=None)
    if past is None:
        raise InvalidResponseError(f"This is no past request: {error_text(answer)}", http_status=answer.status)
    return _merged([each for each in found if each.request_id == past.request_id])


def _rows(body: Any, depth: int) -> list[dict[str, Any]] | None:
    """The one list of objects, wherever it is. An empty history has an empty list."""
    if isinstance(body, list):
        rows = [row for row in body if isinstance(row, dict)]
        return rows if rows or not body else None
    if isinstance(body, dict) and depth:
        lists = (_rows(value, depth - 1) for value in body.values())
        found = [rows for rows in lists if rows is not None]
        return next((rows for rows in found if rows), found[0] if found else None)
    return None


def _objects(body: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The object itself, and those that it may be wrapped around."""
    if isinstance(body, dict):
        yield body
        for value in body.values() if depth else ():
            yield from _objects(value, depth - 1)
    elif isinstance(body, list) and depth:
        for value in body:
            yield from _objects(value, depth - 1)


def _past_request(row: Mapping[str, Any], answer: Response) -> PastRequest | None:
    payload = row.get("request_body")
    if isinstance(payload, str):
        payload = answer.parse(payload)
    request_id = parse_request_id(row.get("request_id")) or ""
    if not request_id and not isinstance(payload, dict):
        return None
    model = row.get("model_name")
    moments = (parse_moment(row[key]) for key in _TIME_KEYS if row.get(key))
    moment = next((moment for moment in moments if moment is not None), None)
    return PastRequest(
        request_id=request_id,
        model=model[:_LONGEST_MODEL] if isinstance(model, str) else "",
        status=JobStatus.parse(row.get("model_status")),
        payload=payload if isinstance(payload, dict) else {},
        images=collect_images(row.get("generation_url"), parse=answer.parse),
        created_at=None if moment is None else moment.seconds,
        cost=amount_in(row.get("credits_deduction")),
        created_at_doubt=0.0 if moment is None else moment.doubt,
    )


def _merged(rows: Sequence[PastRequest]) -> PastRequest:
    """One request of its rows: there is one for each image, every one with the whole cost."""
    statuses = {row.status for row in rows}
    unfinished = JobStatus.FAILED if statuses == {JobStatus.FAILED} else JobStatus.UNKNOWN
    dated = next((row for row in rows if row.created_at is not None), rows[0])
    return replace(
        dated,
        model=next((row.model for row in rows if row.model), ""),
        status=JobStatus.COMPLETED if JobStatus.COMPLETED in statuses else unfinished,
        payload=next((row.payload for row in rows if row.payload), {}),
        images=first_images(image for row in rows for image in row.images),
        cost=next((row.cost for row in rows if row.cost is not None), None),
    )


def _same(told: Any, sent: Any) -> bool:
    """Whether two values are one, though the history may have turned numbers and truth values into text."""
    if told == sent:
        return True
    if isinstance(sent, bool):
        return isinstance(told, str) and told.lower() == str(sent).lower()
    if isinstance(sent, int):
        return integer_in(told) == sent
    sent_number = number_in(sent)
    return sent_number is not None and number_in(told) == sent_number
