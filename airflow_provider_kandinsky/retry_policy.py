"""A retry policy built on the types of the errors, for Airflow 3.3 and later.

Errors that no retry can cure never come this far: they end the task at once. For the others it sets how soon a
retry is worth it, instead of one ``retry_delay`` for all of them::

    KandinskyTextToImageOperator(..., retries=5, retry_policy=KANDINSKY_RETRY_POLICY)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError as error:
    raise ImportError(
        "KANDINSKY_RETRY_POLICY needs the retry policies of Airflow 3.3; before, set retries and retry_delay alone"
    ) from error

from airflow_provider_kandinsky.segmind.errors import (
    JobFailedError,
    JobTimeoutError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.polling import LONGEST_ADVISED_WAIT

#: When the next try begins, by the type of the failure. How many tries there are is up to ``retries``.
KANDINSKY_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
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
            RateLimitedError,
            RetryAction.RETRY,
            timedelta(seconds=LONGEST_ADVISED_WAIT),
            "Rate limits are per minute",
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
