"""What a failure means to Airflow: whether a retry can cure it, and what it will do.

Airflow retries any exception but :class:`~airflow.sdk.exceptions.AirflowFailException`. So an error that would only
come again (a bad key, a refused parameter, blocked content) becomes one, with the typed error as its cause; all
others are raised as they are, for a ``retry_policy`` to tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_kandinsky.capabilities import AirflowFailException
from airflow_provider_kandinsky.segmind.errors import (
    ImageNotStoredError,
    ImageUnavailableError,
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    SubmissionUnknownError,
)


@contextmanager
def failures_for_airflow(*, durable: bool = True) -> Iterator[None]:
    """Say in each error what a retry will do, and stop the retries that can do nothing.

    :param durable: whether the next try will know what this one has bought.
    :raises AirflowFailException: for a :class:`KandinskyError` that is not ``retryable``, which is its cause.
    """
    try:
        yield
    except KandinskyError as error:
        error.advice = error.advice or _advice(error, durable)
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error


def _advice(error: KandinskyError, durable: bool) -> str:
    if isinstance(error, SubmissionUnknownError) and not error.retryable:
        return "A retry could not tell either and might pay twice, so none is made."
    if not error.retryable:
        return "No retry can cure this, so none is made."
    if isinstance(error, SubmissionUnknownError):
        return "A retry asks the request history what became of it."
    if isinstance(error, JobFailedError):
        return "A retry submits it anew."
    if error.request_id is None:
        return "Nothing was accepted; a retry submits it."
    if not durable:
        return "A retry buys it again, because no record is kept of it."
    if isinstance(error, JobExpiredError):
        return "A retry looks for its picture in the request history, and buys it again if it is not there."
    if isinstance(error, (ImageUnavailableError, ImageNotStoredError)):
        return "A retry fetches it again."
    return "A retry takes it up again."
