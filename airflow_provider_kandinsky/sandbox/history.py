"""The request history: what was asked and what it cost, of any age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.service import Refusal, Service
from airflow_provider_kandinsky.sandbox.settings import Settings, in_words
from airflow_provider_kandinsky.segmind.schemas import JobStatus


class HistoryQuery(BaseModel):
    """The filters that the vendor's SDK documents; others that it sends (users, teams) change nothing here."""

    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 20
    from_date: date | None = None
    to_date: date | None = None
    model_name: str = ""
    status: Literal["COMPLETED", "FAILED", "PENDING"] | None = None
    sort_by: Literal["model_created", "model_name", "credits_deduction"] = "model_created"
    sort_order: Literal["asc", "desc"] = "desc"

    def window(self, now: float) -> tuple[float, float]:
        """The time it covers, as seconds since the epoch: without dates, the last seven days.

        :raises Refusal: 400, if it is longer than the service allows.
        """
        last = self.to_date or datetime.fromtimestamp(now, UTC).date()
        first = self.from_date or last - timedelta(days=7)
        if (last - first).days > 31:
            raise Refusal(400, "the window may span at most 31 days")
        return _midnight(first), _midnight(last + timedelta(days=1))


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def read_query(parameters: Mapping[str, str]) -> HistoryQuery:
    """Read a query string.

    :raises Refusal: 400, naming what is wrong.
    """
    try:
        return HistoryQuery.model_validate(dict(parameters))
    except ValidationError as error:
        wrong = in_words(error)
    raise Refusal(400, wrong)


def one_row(service: Service, request_id: str, images_url: str) -> dict[str, Any]:
    """The row of one request; the first, if it has several pictures.

    :raises Refusal: 404, if it is unknown or has not landed yet.
    """
    job = service.jobs.get(request_id)
    now = service.clock()
    if job is None or now < job.submitted_at + service.settings.history_lag:
        raise Refusal(404, f"Request {request_id} not found")
    return _row(job, _urls(job, now, images_url)[0], now, service.settings)


def list_rows(service: Service, query: HistoryQuery, images_url: str) -> Any:
    """One page of the history, in the container that the settings name."""
    now = service.clock()
    start, end = query.window(now)
    landed_by = now - service.settings.history_lag
    # Newest first as a start, and stable sorts from there: the pictures of one job stay in their order.
    found = [
        (job, url)
        for job in reversed(service.jobs.values())
        if job.submitted_at <= landed_by and start <= job.submitted_at < end and query.model_name in job.model
        if query.status in (None, _status(job, now))
        for url in _urls(job, now, images_url)
    ]
    if (query.sort_by, query.sort_order) != ("model_created", "desc"):
        found.sort(
            key=lambda each: _row(each[0], each[1], now, service.settings)[query.sort_by] or 0,
            reverse=query.sort_order == "desc",
        )
    offset = (query.page - 1) * query.per_page
    page = [_row(*each, now, service.settings) for each in found[offset : offset + query.per_page]]
    container = service.settings.history_container
    if container is None:
        return page
    return {container: page, "page": query.page, "per_page": query.per_page, "total": len(found)}


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
    over = job.status(now).is_terminal
    return {
        "request_id": job.request_id,
        "model_name": job.model,
        "model_status": _status(job, now),
        "model_created": _time(job.submitted_at, settings),
        "credits_deduction": (0.0 if job.error else job.cost) if over else None,
        "request_body": dict(job.payload),
        "generation_url": url,
        "latency_ms": round((job.finished_at - job.submitted_at) * 1000) if over else None,
        "error": job.error if over else None,
    }
