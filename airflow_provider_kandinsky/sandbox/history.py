"""The request history: requests of any age, and their cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.service import ApiError, Service
from airflow_provider_kandinsky.sandbox.settings import Settings, format_validation_error
from airflow_provider_kandinsky.segmind.schemas import JobStatus


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
    """The row of one request; the first one if it has several images.

    :raises ApiError: 404: it is unknown, or not visible before ``history_lag``.
    """
    job = service.jobs.get(request_id)
    now = service.clock()
    if job is None or now < job.submitted_at + service.settings.history_lag:
        raise ApiError(404, f"Request {request_id} not found")
    return _row(job, _urls(job, now, images_url)[0], now, service.settings)


def list_rows(service: Service, query: HistoryQuery, images_url: str) -> Any:
    """One page of the history, under the key ``history_container``."""
    now = service.clock()
    start, end = query.window(now)
    visible_before = now - service.settings.history_lag
    # Newest first, then stable sorts, so that the images of one job keep their order.
    rows = [
        (job, url)
        for job in reversed(service.jobs.values())
        if job.submitted_at <= visible_before and start <= job.submitted_at < end and query.model_name in job.model
        if query.status in (None, _status(job, now))
        for url in _urls(job, now, images_url)
    ]
    if (query.sort_by, query.sort_order) != ("model_created", "desc"):
        rows.sort(
            key=lambda row: _row(row[0], row[1], now, service.settings)[query.sort_by] or 0,
            reverse=query.sort_order == "desc",
        )
    offset = (query.page - 1) * query.per_page
    page = [_row(job, url, now, service.settings) for job, url in rows[offset : offset + query.per_page]]
    container = service.settings.history_container
    if container is None:
        return page
    return {container: page, "page": query.page, "per_page": query.per_page, "total": len(rows)}


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


def _status(job: Job, now: float) -> str:
    status = job.status(now)
    return status.value if status.is_terminal else "PENDING"


def _urls(job: Job, now: float, images_url: str) -> list[str | None]:
    """One for each row of the job."""
    names = job.image_names if job.status(now) is JobStatus.COMPLETED else []
    return [f"{images_url}/{name}" for name in names] or [None]


def _row(job: Job, url: str | None, now: float, settings: Settings) -> dict[str, Any]:
    finished = job.status(now).is_terminal
    return {
        "request_id": job.request_id,
        "model_name": job.model,
        "model_status": _status(job, now),
        "model_created": _time(job.submitted_at, settings),
        "credits_deduction": (0.0 if job.error else job.cost) if finished else None,
        "request_body": dict(job.payload),
        "generation_url": url,
        "latency_ms": round((job.finished_at - job.submitted_at) * 1000) if finished else None,
        "error": job.error if finished else None,
    }
