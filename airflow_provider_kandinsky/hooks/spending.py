"""What an account has spent, by its request history: once a request, however many rows it has there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from airflow_provider_kandinsky.hooks.base import ClientHook
from airflow_provider_kandinsky.segmind.errors import ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest
from airflow_provider_kandinsky.segmind.wire.values import integer_in

DAY: Final = 86_400.0
#: So many pages are read of one period: 100 000 rows.
_MAX_PAGES: Final = 1_000
#: The longest period of one reading; the service takes 31 days, and a day more is asked for at each end.
_PERIOD: Final = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Spending:
    """What one model has cost on one day.

    :param day: in UTC, as ISO 8601; ``None`` for requests whose time the history does not say.
    :param model: the slug; empty where the history does not say it.
    :param dollars: as far as the history says.
    :param requests: how many, however many images each has given.
    :param failures: how many of them have failed, which is not billed.
    :param without_cost: how many of the others have no cost yet: they are not finished, or the history does not say.
    """

    day: str | None
    model: str
    dollars: float
    requests: int
    failures: int
    without_cost: int


def priced_parameters(payload: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The parameters that a price depends on; the service gives one image if ``samples`` is not set."""
    size = (integer_in(payload.get(name)) for name in ("img_width", "img_height", "num_inference_steps"))
    return (integer_in(payload.get("samples")) or 1, *size)


def key_of(row: PastRequest) -> str:
    """What names a request: its id, or where the history has none, all that it says of it."""
    return row.request_id or f"{row.created_at} {row.model} {json.dumps(row.payload, sort_keys=True, default=str)}"


def merged(before: PastRequest | None, row: PastRequest) -> PastRequest:
    """One request from its rows on two pages: it has succeeded if one of them has."""
    if before is None or row.status is JobStatus.COMPLETED:
        return row
    return row if before.status is not JobStatus.COMPLETED and row.status is JobStatus.FAILED else before


def moment(when: date | datetime) -> float:
    """Seconds since the epoch: of a day its beginning in UTC; a time without a zone is UTC."""
    if not isinstance(when, datetime):
        when = datetime.combine(when, time(), UTC)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


async def read_pages(
    client: AsyncSegmindClient, since: float, until: float | None = None
) -> AsyncIterator[list[PastRequest]]:
    """Read the history page by page, newest first.

    :param since: seconds since the epoch.
    :param until: the same, at most 28 days later; ``None`` is now.
    :raises ConfigurationError: there is no history.
    :raises ServiceUnavailableError: there is more of it than is read.
    """
    for page in range(1, _MAX_PAGES + 1):
        rows = await client.get_history("", since, page, until=until)
        yield rows
        if all(row.is_before(since) for row in rows):
            return
    raise ServiceUnavailableError(f"The request history has more than {_MAX_PAGES} pages in the days to be read")


async def read_spending(
    client: AsyncSegmindClient, since: date | datetime, until: date | datetime | None = None
) -> list[Spending]:
    """What was spent, by day (UTC) and model.

    :param since: a day, or a time; without a zone it is UTC.
    :param until: the same, itself not included; ``None`` is now.
    :return: sorted by day and model. A request counts once, however many images it has given.
    :raises ConfigurationError: the connection has no ``history_url``.
    :raises KandinskyError: the history cannot be read, or has more than 100 000 rows in four weeks.
    """
    start = moment(since)
    end = moment(until) if until is not None else datetime.now(UTC).timestamp() + DAY
    found: dict[str, PastRequest] = {}
    first = start
    while first < end:
        last = min(first + _PERIOD.total_seconds(), end)
        async for rows in read_pages(client, first, last):
            for row in rows:
                # Each period brings the days around it, too; those of no time are of none.
                if row.created_at is None or start <= row.created_at < end:
                    found[key_of(row)] = merged(found.get(key_of(row)), row)
        first = last
    sums: dict[tuple[str | None, str], list[Any]] = {}
    for row in found.values():
        day = None if row.created_at is None else datetime.fromtimestamp(row.created_at, UTC).date().isoformat()
        total = sums.setdefault((day, row.model), [0.0, 0, 0, 0])
        failed = row.status is JobStatus.FAILED
        total[0] += row.cost or 0.0
        total[1] += 1
        total[2] += failed
        total[3] += row.cost is None and not failed
    return [
        Spending(day, model, round(dollars, 6), *counts)
        for (day, model), (dollars, *counts) in sorted(sums.items(), key=lambda each: (each[0][0] or "", each[0][1]))
    ]


class SpendingHook(ClientHook):
    """The part of the hook that says what was spent."""

    def get_spend(self, since: date | datetime, until: date | datetime | None = None) -> list[Spending]:
        """What the account has spent, by day (UTC) and model, from its request history. The calls are free.

        :param since: a day, or a time; without a zone it is UTC.
        :param until: the same, itself not included; ``None`` is now.
        :return: sorted by day and model. A request counts once, however many images it has given.
        :raises ConfigurationError: the connection has no ``history_url``.
        :raises KandinskyError: the history cannot be read, or has more than 100 000 rows in four weeks.
        """
        return self.get_conn().call(read_spending, since, until)

    async def aget_spend(self, since: date | datetime, until: date | datetime | None = None) -> list[Spending]:
        """The async twin of :meth:`get_spend`."""
        return await read_spending(await self.aget_conn(), since, until)
