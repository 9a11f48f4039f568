"""What a failure means to Airflow: whether a retry can cure it.

Airflow retries any exception but :class:`~airflow.sdk.exceptions.AirflowFailException`. So an error that would only
come again (a bad key, a refused parameter, blocked content) becomes one, with the typed error as its cause; all
others are raised as they are, for a ``retry_policy`` to tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_kandinsky.segmind.errors import KandinskyError


@contextmanager
def fail_at_once_if_final() -> Iterator[None]:
    """Turn errors that no retry can cure into failures that Airflow does not retry.

    :raises AirflowFailException: for a :class:`KandinskyError` that is not ``retryable``, which is its cause.
    """
    try:
        yield
    except KandinskyError as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{error} No retry can cure this, so none is made.") from error
