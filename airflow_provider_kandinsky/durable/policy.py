"""The rules of money, as tables: what the service and the request history say of a job, and what then is to be done.

The single operator and the batch ask here, and nowhere else. Does no I/O; ``docs/money.md`` says the same in prose.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME, RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import JobFailedError

if TYPE_CHECKING:
    from airflow_provider_kandinsky.durable.records import JobRecord

OnUnknownSubmit = Literal["fail", "resubmit"]


class History(StrEnum):
    """What the request history says of one request."""

    COMPLETED = "completed, with all its images"
    INCOMPLETE = "completed, with fewer images than were asked for"
    EMPTY = "completed, without an image"
    PENDING = "not finished"
    FAILED = "failed"
    ABSENT = "not there"
    DOUBTFUL = "perhaps there, at an unlikely time"
    UNREACHABLE = "cannot be asked now"
    NOT_CONFIGURED = "not configured"


class Step(StrEnum):
    """What is to be done about a job."""

    SUBMIT = "submit"
    REATTACH = "re-attach"
    DELIVER = "deliver"
    WAIT = "wait: fail, and let a retry ask again"
    FAIL = "fail: the history does not say what became of it"
    INCOMPLETE = "fail: images that were paid for are missing"


def is_cleared(record: JobRecord, max_tries: int) -> bool:
    """Whether a user has cleared the task since: a clear raises ``max_tries``, a retry does not.

    :param max_tries: the task instance's now.
    """
    return record.max_tries != max_tries


def after_retry_or_clear(
    record: JobRecord, try_number: int, max_tries: int, *, is_random: bool = False
) -> JobRecord | None:
    """What still counts of a record in this try; ``None`` if the item is to be submitted.

    What an earlier try has submitted counts. Its failure does not, if a retry or a clear is to cure it.

    :param try_number: the task instance's now.
    :param max_tries: the same.
    :param is_random: whether the item's seed is ``-1``, so that a clear asks for another image.
    """
    if record.is_open:
        return None
    if record.try_number == try_number:
        return record
    cleared = is_cleared(record, max_tries)
    if cleared and is_random:
        return None
    failure = record.failure
    if failure is None or not (failure.retryable or cleared):
        return record
    if record.intended_at == 0.0 or (isinstance(failure, JobFailedError) and failure.retryable):
        return None  # never accepted, or not billed
    return replace(record, error=None)


def after_lost_response(history: History, on_unknown_submit: OnUnknownSubmit, *, is_presumed: bool = False) -> Step:
    """What to do about an intent without a request id, which an earlier try has left.

    :param history: its word is final: it had time to learn of what was submitted.
    :param is_presumed: whether nothing says that it was submitted, but that the task was cleared and has no record.
    """
    match history:
        case History.NOT_CONFIGURED if is_presumed:
            return Step.SUBMIT
        case History.FAILED | History.ABSENT:
            return Step.SUBMIT
        case History.DOUBTFUL | History.UNREACHABLE | History.NOT_CONFIGURED:
            return _unknown(on_unknown_submit)
    return Step.REATTACH


def after_not_found(
    history: History,
    age: float,
    on_unknown_submit: OnUnknownSubmit,
    *,
    has_waited: bool,
    id_only: bool = False,
) -> Step:
    """What to do about a job for which the service responds with 404.

    Within the hour that means "not known now": what else it means, only the history can say.

    :param age: of the submission, in seconds.
    :param has_waited: whether for a whole wait nothing but 404 came; see :class:`~.waiting.poller.JobPoller`.
    :param id_only: whether the request id is all that is wanted, so that an expired one is of no use.
    """
    is_expired = age >= RECORD_LIFETIME
    match history:
        case History.FAILED:
            return Step.SUBMIT
        case History.COMPLETED if not id_only:
            return Step.DELIVER if age <= IMAGE_LIFETIME else Step.SUBMIT
        case History.PENDING:
            return Step.WAIT if is_expired else Step.REATTACH
        case History.INCOMPLETE if is_expired and not id_only:
            return Step.INCOMPLETE if age <= IMAGE_LIFETIME else Step.SUBMIT
        case History.COMPLETED | History.INCOMPLETE | History.EMPTY:
            return Step.SUBMIT if is_expired else Step.REATTACH
    if not (is_expired or has_waited):
        return Step.REATTACH
    match history:
        case History.ABSENT:
            return Step.SUBMIT
        case History.NOT_CONFIGURED if is_expired:
            return Step.SUBMIT
    return _unknown(on_unknown_submit)


def _unknown(on_unknown_submit: OnUnknownSubmit) -> Step:
    return Step.SUBMIT if on_unknown_submit == "resubmit" else Step.FAIL
