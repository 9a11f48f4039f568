"""The request history: requests of any age, and their cost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import islice
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.service import ApiError, Service
from airflow_provider_kandinsky.sandbox.settings import Settings, format_validation_error


class HistoryQuery(BaseModel):
    """The filters that the vendor's SDK documents; others (users, teams) are ignored."""

    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 20
    from_date: date | None = None
    to_date: date | None = None
    model_name: str = ""
    status: Literal["COMPLETED", "FAILED", "PENDING"] | None = None
    sort_by: Literal["model_created", "model_name", "credits_deduction"] = "model_created"
    sort_order: Literal["asc", "desc"] = "desc"

    def window(self, now: float) -> tuple[float, float]:
        """Start and end in seconds since the epoch; without dates, the last seven days.

        :raises ApiError: 400: longer than 31 days.
        """
        last = self.to_date or datetime.fromtimestamp(now, UTC).date()
        first = self.from_date or last - timedelta(days=7)
        if (last - first).days > 31:
            raise ApiError(400, "the window may span at most 31 days")
        return _midnight(first), _midnight(last + timedelta(days=1))


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def read_query(parameters: Mapping[str, str]) -> HistoryQuery:
    """Read a query string.

    :raises ApiError: 400: a filter is invalid.
    """
    try:
        return HistoryQuery.model_validate(dict(parameters))
    except ValidationError as error:
        message = format_validation_error(error)
    raise ApiError(400, message)


def one_row(service: Service, request_id: str, images_url: str) -> dict[str, Any]:
    """The row of one request of one's own; the first one if it has several images.

    :raises ApiError: 404: it is unknown, or not visible before ``history_lag``.
    """
    job = service.jobs.get(request_id)
    view = _View(service, images_url)
    if job is None or view.at < job.submitted_at:
        raise ApiError(404, f"Request {request_id} not found")
    return view.row(job, 0)


def list_rows(service: Service, query: HistoryQuery, images_url: str) -> Any:
    """One page of the history, under the key ``history_container``."""
    view = _View(service, images_url)
    rows = view.rows(view.jobs(query))
    end = query.page * query.per_page
    page = [view.row(job, index) for job, index in islice(rows, end - query.per_page, end)]
    container = service.settings.history_container
    return page if container is None else {container: page, "page": query.page, "per_page": query.per_page}


class _View:
    """The history as it was ``history_lag`` ago.

    :param images_url: of the folder of the images.
    """

    def __init__(self, service: Service, images_url: str) -> None:
        self._service = service
        self._settings = service.settings
        self._images_url = images_url
        self._now = service.clock()
        self.at = self._now - self._settings.history_lag

    def jobs(self, query: HistoryQuery) -> Iterable[Job]:
        """The jobs that a query finds, in its order. No row is made of them, and those of another time are skipped."""
        every, submitted_at = self._service.history, attrgetter("submitted_at")
        start, end = query.window(self._now)
        last = min(bisect_left(every, end, key=submitted_at), bisect_right(every, self.at, key=submitted_at))
        found = every[bisect_left(every, start, key=submitted_at) : last]
        if query.sort_by != "model_created" or query.sort_order == "desc":
            found.reverse()
        if query.sort_by == "model_name":
            found.sort(key=attrgetter("model"), reverse=query.sort_order == "desc")
        elif query.sort_by == "credits_deduction":
            found.sort(key=lambda job: self._cost(job) or 0.0, reverse=query.sort_order == "desc")
        jobs: Iterable[Job] = found
        if query.model_name:
            jobs = (job for job in jobs if query.model_name in job.model)
        if query.status is not None:
            jobs = (job for job in jobs if self._status(job) == query.status)
        return jobs

    def rows(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, int]]:
        """The rows of some jobs: each is a job and an image's index."""
        for job in jobs:
            for index in range(1 if job.samples == 1 else self._row_count(job)):
                yield job, index

    def row(self, job: Job, index: int) -> dict[str, Any]:
        """The row of one image of a job."""
        finished = job.status(self.at).is_terminal
        return {
            "request_id": job.request_id,
            "model_name": job.model,
            "model_status": self._status(job),
            "model_created": _time(job.submitted_at, self._settings),
            "credits_deduction": self._cost(job),
            "request_body": dict(job.payload),
            "generation_url": f"{self._images_url}/{job.image_names[index]}" if finished and job.image_count else None,
            "latency_ms": round((job.finished_at - job.submitted_at) * 1000) if finished else None,
            "error": job.error if finished else None,
        }

    def _row_count(self, job: Job) -> int:
        """One for each image that is there, and at least one."""
        count = job.image_count if self.at >= job.finished_at else 1
        if count > 1 and self._settings.history_image_lag:
            count = min(count, 1 + int((self.at - job.finished_at) / self._settings.history_image_lag))
        return max(count, 1)

    def _status(self, job: Job) -> str:
        status = job.status(self.at)
        return status.value if status.is_terminal else "PENDING"

    def _cost(self, job: Job) -> float | None:
        if not job.status(self.at).is_terminal:
            return None
        return 0.0 if job.error else job.cost


def _time(moment: float, settings: Settings) -> str | float | None:
    zone = timezone(timedelta(hours=settings.history_utc_offset))
    local = datetime.fromtimestamp(moment, zone)
    forms: dict[str, str | float | None] = {
        "zoned": local.isoformat(),
        "naive": local.replace(tzinfo=None).isoformat(),
        "date": local.date().isoformat(),
        "epoch": moment,
        "none": None,
    }
    return forms[settings.history_times]
