"""Translates errors into Airflow's exceptions, by whether a retry can cure them.

Airflow retries any exception but :class:`~airflow.sdk.exceptions.AirflowFailException`. So an error that would only
come again (a bad key, a refused parameter, blocked content) becomes one, with the typed error as its cause. All others
are raised as they are, so that a ``retry_policy`` can distinguish them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseSensorOperator, Context

from airflow_provider_kandinsky.compat.airflow import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    policies_can_reschedule,
)
from airflow_provider_kandinsky.durable.errors import BudgetExceededError, LedgerError
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.delivery import error_for_xcom
from airflow_provider_kandinsky.segmind.errors import (
    ImageNotStoredError,
    ImageUnavailableError,
    InsufficientCreditsError,
    JobExpiredError,
    JobFailedError,
    JobTimeoutError,
    KandinskyError,
    SubmissionUnknownError,
)

log = logging.getLogger(__name__)


@contextmanager
def translate_operator_errors(
    context: Context | None = None, *, is_kept: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Give each error a retry hint, push it as XCom ``error``, log where it is explained, and stop retries that cannot
    help.

    :param context: of the running task; ``None`` while the DAG is parsed.
    :param is_kept: whether the next try will know what this one has submitted; asked only where that matters.
    :raises AirflowFailException: for a :class:`KandinskyError` that is not ``retryable``, which is its cause, unless
        :func:`is_rescheduled`.
    """
    try:
        yield
    except KandinskyError as error:
        rescheduled = context is not None and is_rescheduled(error, context)
        if rescheduled:
            error.retry_hint = "The retry policy reschedules the task; that uses up no retry."
        error.retry_hint = error.retry_hint or _retry_hint(error, is_kept)
        _report(error, context)
        if error.retryable or rescheduled:
            raise
        raise AirflowFailException(str(error)) from error
    except LedgerError as error:
        _report(error, context)
        raise


@contextmanager
def translate_sensor_errors(context: Context) -> Iterator[None]:
    """Translate errors into the exceptions that ``soft_fail`` turns into a skip.

    A failed or expired job is final here, unlike for the operator: a sensor cannot submit another.

    :raises AirflowSensorTimeout: for a :class:`JobTimeoutError`, which is its cause.
    :raises AirflowFailException: for any other :class:`KandinskyError` that waiting cannot cure.
    """
    try:
        yield
    except KandinskyError as error:
        _report(error, context)
        if isinstance(error, JobTimeoutError):
            raise AirflowSensorTimeout(str(error)) from error
        if error.retryable and not isinstance(error, (JobFailedError, JobExpiredError)):
            raise
        raise AirflowFailException(str(error)) from error


@contextmanager
def apply_soft_fail(sensor: BaseSensorOperator) -> Iterator[None]:
    """Apply ``soft_fail`` and ``never_fail`` to all of a sensor's execution; Airflow applies them to ``poke`` alone.

    :raises AirflowSkipException: with ``soft_fail`` for final errors, with ``never_fail`` for any error.
    """
    try:
        yield
    except (AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout) as error:
        if sensor.soft_fail or sensor.never_fail:
            raise AirflowSkipException(f"Skipped because of soft_fail or never_fail: {error}") from error
        raise
    except KandinskyError as error:
        if sensor.never_fail:
            raise AirflowSkipException(f"Skipped because of never_fail: {error}") from error
        raise


def is_rescheduled(error: KandinskyError, context: Context) -> bool:
    """Whether the task's retry policy reschedules it when the credits or the daily budget are used up (Airflow 3.4). A
    retry cannot cure that, a refill or the next day can; nothing was accepted, so running again submits nothing twice.

    Airflow does not consult the policy about an ``AirflowFailException``, so the error is raised as it is until the
    policy's ``max_reschedules`` is reached.
    """
    policy = getattr(context.get("task"), "retry_policy", None)
    if (
        not isinstance(error, (InsufficientCreditsError, BudgetExceededError))
        or error.request_id
        or (isinstance(error, BudgetExceededError) and error.until is None)
        or not policies_can_reschedule()
        or not policy
    ):
        return False
    ti = context["ti"]
    try:
        decision = policy.evaluate(error, ti.try_number, ti.max_tries, context)
    except Exception:
        # A user's policy may raise anything; it must not mask the failure being reported.
        log.exception("The retry policy failed to evaluate that credits or budget are used up")
        return False
    if decision.action.value != "reschedule":
        return False
    reschedules: Any = context.get("task_reschedule_count", 0)
    return decision.max_reschedules is None or reschedules < decision.max_reschedules


def _report(error: KandinskyError | LedgerError, context: Context | None) -> None:
    """Count the error, say where it is explained, and push it as an XCom, where the gallery or a later task finds it
    without reading logs."""
    if context is None:
        return
    # Not while a DAG file is parsed.
    from airflow_provider_kandinsky.links.documentation import documentation_url, name_error_section

    name = type(error).__name__
    if isinstance(error, KandinskyError) and not error.aggregates_errors:
        JobMetrics.of_task(context["ti"], getattr(context.get("task"), "model", None)).failed(error)
    log.error("What to do about %s: %s", name, name_error_section(name, documentation_url()))
    try:
        context["ti"].xcom_push(key="error", value=error_for_xcom(error))
    except Exception:
        # Never let an XCom error mask the failure being reported.
        log.exception("Could not push the error to XCom")


def _retry_hint(error: KandinskyError, is_kept: Callable[[], bool]) -> str:
    if isinstance(error, SubmissionUnknownError) and not error.retryable:
        return "A retry could not find out either and might submit it twice, so there is none."
    if isinstance(error, BudgetExceededError) and error.until is not None:
        return "No retry before that can cure it, so there is none; clear the task then."
    if not error.retryable:
        return "No retry can cure this, so there is none."
    if isinstance(error, SubmissionUnknownError):
        return "A retry searches the request history for it."
    if isinstance(error, JobFailedError):
        return "A retry submits it again."
    if error.request_id is None:
        return "Nothing was accepted; a retry submits it."
    if not is_kept():
        return "A retry submits it again, because no record is kept of it."
    if isinstance(error, JobExpiredError):
        return "A retry searches the request history for its images, and submits it again if they are not there."
    if isinstance(error, (ImageUnavailableError, ImageNotStoredError)):
        return "A retry fetches the images again."
    return "A retry re-attaches to it."
