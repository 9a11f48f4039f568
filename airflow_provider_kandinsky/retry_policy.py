"""A retry policy built on the types of the errors, for Airflow 3.3 and later.

Errors that no retry can cure never come this far: they end the task at once. For the others it sets how soon a
retry is worth it, instead of one ``retry_delay`` for all of them::

    KandinskyTextToImageOperator(..., retries=5, retry_policy=KANDINSKY_RETRY_POLICY)

From Airflow 3.4 on a rate limit, and credits that are used up, cost no try: the task is rescheduled, so many times.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError as error:
    raise ImportError(
        "KANDINSKY_RETRY_POLICY needs the retry policies of Airflow 3.3; before, set retries and retry_delay alone"
    ) from error

from airflow_provider_kandinsky.compat.airflow import policies_can_reschedule
from airflow_provider_kandinsky.segmind.errors import (
    InsufficientCreditsError,
    JobFailedError,
    JobTimeoutError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER

#: So often a try is rescheduled for a rate limit, a minute apart: half an hour.
_MAX_RATE_LIMIT_RESCHEDULES: Final = 30
#: So often for credits that are used up, ten minutes apart: six hours.
_MAX_CREDITS_RESCHEDULES: Final = 36


def _without_a_try(error: type[Exception], delay: timedelta, max_reschedules: int, reason: str) -> RetryRule:
    """A rule by which the task runs again, where Airflow can do that without using up a try; else a rule for a retry.

    :param max_reschedules: in a try, those for other errors included; what follows them is up to ``retries``.
    """
    if not policies_can_reschedule():
        return RetryRule(error, RetryAction.RETRY, delay, reason)
    # Airflow 3.3, which the types are checked with, knows neither the action nor its bound.
    bound: dict[str, Any] = {"max_reschedules": max_reschedules}
    return RetryRule(error, RetryAction("reschedule"), delay, reason, **bound)


_RATE_LIMIT: Final = _without_a_try(
    RateLimitedError,
    timedelta(seconds=MAX_RETRY_AFTER),
    _MAX_RATE_LIMIT_RESCHEDULES,
    "Rate limits are per minute; nothing was accepted",
)
#: No retry cures them, so there is a rule only where it costs none.
_CREDITS: Final = _without_a_try(
    InsufficientCreditsError,
    timedelta(minutes=10),
    _MAX_CREDITS_RESCHEDULES,
    "The credits are used up; nothing was accepted",
)

#: When the next try begins, by the type of the failure. How many tries there are is up to ``retries``.
KANDINSKY_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
        _RATE_LIMIT,
        *([_CREDITS] if policies_can_reschedule() else []),
        RetryRule(
            JobTimeoutError,
            RetryAction.RETRY,
            timedelta(seconds=5),
            "The job may still be running; the retry takes it up again",
        ),
        RetryRule(
            SubmissionUnknownError,
            RetryAction.RETRY,
            timedelta(seconds=30),
            "The retry asks the request history what became of the submission",
        ),
        RetryRule(
            JobFailedError,
            RetryAction.RETRY,
            timedelta(seconds=30),
            "The job failed and was not billed; the retry submits it anew",
        ),
        RetryRule(
            ServiceUnavailableError,
            RetryAction.RETRY,
            timedelta(minutes=2),
            "The service is out of order or out of reach",
        ),
    ]
)
