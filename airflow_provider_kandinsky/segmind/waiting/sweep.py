"""What the request history says of the jobs that are waited for. Does no I/O and never sleeps.

A page of the history has 100 requests of the account, so one free call can replace a hundred polls. It is trusted only
where it cannot give a wrong image: a row has to carry the job's own request id and model, and all its images. Whatever
else it says leads at most to a poll of the job itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest, merge_rows

#: Clocks may differ by so many seconds.
_CLOCK_SKEW: Final = 300.0


class Finding(Enum):
    """What the history says of one job."""

    #: Nothing that can be used; it may lag behind. The job is polled as if there were no history.
    ABSENT = auto()
    #: It is in flight, and need not be polled before the next sweep.
    IN_FLIGHT = auto()
    #: It has failed. A poll has to confirm that, and gets the service's own error.
    FAILED = auto()
    #: It is completed, but this is not certainly the whole result, which has to be fetched.
    INCOMPLETE = auto()
    #: It is completed, and the row is the whole result.
    COMPLETED = auto()


@dataclass(eq=False, slots=True)
class WaitingJob:
    """A job that is waited for.

    :param poller: decides when to poll it.
    :param model: its slug; ``None`` is unknown.
    :param samples: how many images it makes; ``None`` is unknown, and its result is always fetched.
    :param outcome: resolved with its result, or with the error that ends the wait.
    :param entry: the number of its entry in the queue; earlier entries are void.
    :param in_flight_until: until when the history vouches that it is in flight, seconds since the epoch.
    :param polled_at: when it was last polled, or submitted.
    :param listed: its result as the history has it, while a fuller one is being fetched.
    :param is_listed: whether the history has it.
    :param is_polling: whether it is being polled now.
    :param is_checked: whether the history has said once that it is over, and the job itself is asked since.
    """

    poller: JobPoller
    model: str | None
    samples: int | None
    outcome: asyncio.Future[GenerationResult]
    polled_at: float
    entry: int = -1
    in_flight_until: float = -math.inf
    listed: GenerationResult | None = None
    is_listed: bool = False
    is_polling: bool = False
    is_checked: bool = False

    def finding_of(self, row: PastRequest) -> Finding:
        """What a row of the history with this job's request id says of it."""
        if self.model and row.model and row.model != self.model:
            return Finding.ABSENT
        if row.status is JobStatus.COMPLETED:
            is_whole = self.samples is not None and len(row.images) == self.samples
            return Finding.COMPLETED if is_whole and all(image.url for image in row.images) else Finding.INCOMPLETE
        if row.status is JobStatus.FAILED:
            return Finding.FAILED
        return Finding.ABSENT if row.status is JobStatus.UNKNOWN else Finding.IN_FLIGHT

    def result_of(self, row: PastRequest) -> GenerationResult:
        """The result, from a row that :attr:`~Finding.COMPLETED` was found in."""
        return self.poller.on_result(replace(row.result(), model=self.model or row.model))


class Sweep:
    """One reading of the newest pages of the history.

    The list may grow while its pages are read, and the rows of one request may lie on two pages, so that what a
    request has on all pages is taken together.

    :param wanted: the request ids that are waited for.
    :param since: when the oldest of them was submitted, seconds since the epoch.
    :param images: how many images they make; the history has a row for each.
    """

    def __init__(self, wanted: Collection[str], *, since: float, images: int) -> None:
        self._wanted = wanted
        self._since = since - _CLOCK_SKEW
        self._missing = set(wanted)
        # Others may use the account as well, but what needs more pages than that is cheaper to poll.
        self.max_pages = 2 + 2 * math.ceil(images / PAGE_SIZE)
        self.rows: dict[str, PastRequest] = {}
        self.is_over = False

    def add_page(self, rows: Sequence[PastRequest]) -> list[PastRequest]:
        """Take in a page.

        :param rows: its requests, newest first.
        :return: what is known now of those of its requests that are wanted.
        """
        found = []
        for row in rows:
            if row.request_id not in self._wanted:
                continue
            if (known := self.rows.get(row.request_id)) is not None:
                row = merge_rows([known, row])
            self.rows[row.request_id] = row
            self._missing.discard(row.request_id)
            found.append(row)
        count = sum(max(1, len(row.images)) for row in rows)
        is_last = count < PAGE_SIZE or all(row.is_before(self._since) for row in rows)
        self.is_over = self.is_over or is_last or not self._missing
        return found
