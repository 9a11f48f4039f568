"""A retry policy by error type, for Airflow 3.3 and later.

Errors that no retry can cure fail the task without asking the policy. For the others it sets a delay that suits the
error, instead of one ``retry_delay`` for all of them::

    KandinskyTextToImageOperator(..., retries=5, retry_policy=KANDINSKY_RETRY_POLICY)

Since Airflow 3.4 rate limits, used-up credits and a used-up daily budget use up no try: the task is rescheduled, a
limited number of times.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError as error:
    raise ImportError(
        "KANDINSKY_RETRY_POLICY needs the retry policies of Airflow 3.3; in older versions set retries and retry_delay"
    ) from error

from airflow_provider_kandinsky.compat.airflow import policies_can_reschedule
from airflow_provider_kandinsky.durable.errors import BudgetExceededError
from airflow_provider_kandinsky.segmind.errors import (
    InsufficientCreditsError,
    JobFailedError,
    JobTimeoutError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER


def _rule(error: type[Exception], seconds: float, reason: str, max_reschedules: int | None = None) -> RetryRule:
    """A rule for one type of error.

    :param seconds: before the next try.
    :param max_reschedules: reschedules of a try, including those for other errors, that use up none, if this Airflow
        can; after them ``retries`` decides.
    """
    if max_reschedules is None or not policies_can_reschedule():
        return RetryRule(error, RetryAction.RETRY, timedelta(seconds=seconds), reason)
    # mypy runs against Airflow 3.3, which has neither the action nor this argument.
    limit: dict[str, Any] = {"max_reschedules": max_reschedules}
    return RetryRule(error, RetryAction("reschedule"), timedelta(seconds=seconds), reason, **limit)


#: No retry cures these, so there is a rule only if it uses up no try.
_ONLY_RESCHEDULED: Final = [
    # Ten minutes apart: six hours.
    _rule(InsufficientCreditsError, 600, "The credits are used up; nothing was accepted", max_reschedules=36),
    # An hour apart: into the next day.
    _rule(BudgetExceededError, 3600, "The daily budget is used up; nothing was accepted", max_reschedules=25),
]

#: The delay before the next try, by error type. ``retries`` sets the number of tries.
KANDINSKY_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
        # A minute apart: half an hour.
        _rule(
            RateLimitedError, MAX_RETRY_AFTER, "Rate limits are per minute; nothing was accepted", max_reschedules=30
        ),
        *(_ONLY_RESCHEDULED if policies_can_reschedule() else []),
        _rule(JobTimeoutError, 5, "The job may still be running; the retry re-attaches to it"),
        _rule(SubmissionUnknownError, 30, "The retry searches the request history for the submission"),
        _rule(JobFailedError, 30, "The job failed and was not billed; the retry submits it again"),
        _rule(ServiceUnavailableError, 120, "The service is down or out of reach"),
    ]
)
