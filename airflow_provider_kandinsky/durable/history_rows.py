"""What rows of the request history say. Does no I/O."""

from __future__ import annotations

from airflow_provider_kandinsky.durable.policy import History
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


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
