"""What rows of the request history say. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_kandinsky.durable.policy import History
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


class RowsUntilFailure:
    """Rows up to the first that cannot be read: what was found before holds.

    :param rows: newest first.
    """

    def __init__(self, rows: Iterator[PastRequest]) -> None:
        self._rows = rows
        self.error: KandinskyError | None = None

    def __iter__(self) -> Iterator[PastRequest]:
        try:
            yield from self._rows
        except KandinskyError as error:
            self.error = error


def may_have_more(row: PastRequest, samples: int) -> bool:
    """Whether other rows of a request may say more than this one.

    :param samples: how many images it gives at most.
    """
    if row.status is JobStatus.FAILED:
        return samples > 1
    return row.status is JobStatus.COMPLETED and len(row.images) < samples


def history_of(row: PastRequest, samples: int) -> History:
    """What a request of the history says of a job.

    :param samples: how many images it was to give.
    """
    if row.status is JobStatus.FAILED:
        return History.FAILED
    if row.status is not JobStatus.COMPLETED:
        return History.PENDING
    if not row.images:
        return History.EMPTY
    return History.INCOMPLETE if len(row.images) < samples else History.COMPLETED
