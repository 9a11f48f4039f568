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

#: Reschedules of a try for a rate limit, a minute apart: half an hour.
_MAX_RATE_LIMIT_RESCHEDULES: Final = 30
#: Reschedules for used-up credits, ten minutes apart: six hours.
_MAX_CREDITS_RESCHEDULES: Final = 36
#: Reschedules for a used-up daily budget, an hour apart: into the next day.
_MAX_BUDGET_RESCHEDULES: Final = 25


def _reschedule_rule(error: type[Exception], delay: timedelta, max_reschedules: int, reason: str) -> RetryRule:
    """A rule that reschedules the task without using up a try, if this Airflow can; else a rule that retries it.

    :param max_reschedules: of a try, including those for other errors; after them ``retries`` decides.
    """
    if not policies_can_reschedule():
        return RetryRule(error, RetryAction.RETRY, delay, reason)
    # mypy runs against Airflow 3.3, which has neither the action nor this argument.
    limit: dict[str, Any] = {"max_reschedules": max_reschedules}
    return RetryRule(error, RetryAction("reschedule"), delay, reason, **limit)


_RATE_LIMIT: Final = _reschedule_rule(
    RateLimitedError,
    timedelta(seconds=MAX_RETRY_AFTER),
    _MAX_RATE_LIMIT_RESCHEDULES,
    "Rate limits are per minute; nothing was accepted",
)
#: No retry cures these, so there is a rule only if it uses up none.
_CREDITS: Final = _reschedule_rule(
    InsufficientCreditsError,
    timedelta(minutes=10),
    _MAX_CREDITS_RESCHEDULES,
    "The credits are used up; nothing was accepted",
)
_BUDGET: Final = _reschedule_rule(
    BudgetExceededError,
    timedelta(hours=1),
    _MAX_BUDGET_RESCHEDULES,
    "The daily budget is used up; nothing was accepted",
)

#: For each type of error: seconds before the next try, and why.
_DELAYS: Final = (
    (JobTimeoutError, 5, "The job may still be running; the retry re-attaches to it"),
    (SubmissionUnknownError, 30, "The retry searches the request history for the submission"),
    (JobFailedError, 30, "The job failed and was not billed; the retry submits it again"),
    (ServiceUnavailableError, 120, "The service is down or out of reach"),
)

#: The delay before the next try, by error type. ``retries`` sets the number of tries.
KANDINSKY_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
        _RATE_LIMIT,
        *([_CREDITS, _BUDGET] if policies_can_reschedule() else []),
        *(RetryRule(error, RetryAction.RETRY, timedelta(seconds=delay), reason) for error, delay, reason in _DELAYS),
    ]
)
