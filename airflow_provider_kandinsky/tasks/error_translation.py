"""What a failure means to Airflow: whether a retry can cure it, and what it will do.

Airflow retries any exception but :class:`~airflow.sdk.exceptions.AirflowFailException`. So an error that would only
come again (a bad key, a refused parameter, blocked content) becomes one, with the typed error as its cause; all
others are raised as they are, for a ``retry_policy`` to tell apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_kandinsky.compat.airflow import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    policies_can_reschedule,
)
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

if TYPE_CHECKING:
    from airflow.sdk import BaseSensorOperator, Context

log = logging.getLogger(__name__)


@contextmanager
def translate_operator_errors(context: Context | None = None, *, durable: bool = True) -> Iterator[None]:
    """Say in each error what a retry will do, leave it in XCom ``error``, and stop the retries that can do nothing.

    :param context: the running task's; ``None`` while the DAG is parsed.
    :param durable: whether the next try will know what this one has bought.
    :raises AirflowFailException: for a :class:`KandinskyError` that is not ``retryable``, which is its cause; but see
        :func:`is_rescheduled`.
    """
    try:
        yield
    except KandinskyError as error:
        rescheduled = context is not None and is_rescheduled(error, context)
        if rescheduled:
            error.retry_hint = "The task runs again later, as its retry policy asks for; that is no retry."
        error.retry_hint = error.retry_hint or _advice(error, durable)
        _tell(error, context)
        if error.retryable or rescheduled:
            raise
        raise AirflowFailException(str(error)) from error


@contextmanager
def translate_sensor_errors(context: Context) -> Iterator[None]:
    """Say in Airflow's terms that waiting is over: these are the exceptions that ``soft_fail`` turns into a skip.

    A job that failed or is gone is final here, unlike for the operator: a sensor cannot submit another.

    :raises AirflowSensorTimeout: for a :class:`JobTimeoutError`, which is its cause.
    :raises AirflowFailException: for any other :class:`KandinskyError` that waiting cannot cure.
    """
    try:
        yield
    except KandinskyError as error:
        _tell(error, context)
        if isinstance(error, JobTimeoutError):
            raise AirflowSensorTimeout(str(error)) from error
        if error.retryable and not isinstance(error, (JobFailedError, JobExpiredError)):
            raise
        raise AirflowFailException(str(error)) from error


@contextmanager
def apply_soft_fail(sensor: BaseSensorOperator) -> Iterator[None]:
    """Do around all of a sensor what Airflow does around its ``poke`` alone: skip the task instead of failing it, where
    ``soft_fail`` or ``never_fail`` asks for that.

    :raises AirflowSkipException: with ``soft_fail`` for what is final, with ``never_fail`` for any error.
    """
    try:
        yield
    except (AirflowFailException, AirflowSensorTimeout, AirflowTaskTimeout) as error:
        if sensor.soft_fail or sensor.never_fail:
            raise AirflowSkipException(f"Skipped, as soft_fail or never_fail asks for: {error}") from error
        raise
    except KandinskyError as error:
        if sensor.never_fail:
            raise AirflowSkipException(f"Skipped, as never_fail asks for: {error}") from error
        raise


def is_rescheduled(error: KandinskyError, context: Context) -> bool:
    """Whether the task's retry policy has it run again for credits that are used up (Airflow 3.4). No retry cures that,
    but a refill does, and as long as nothing was accepted nothing is submitted again.

    Airflow asks the policy itself, but about no error that ends the task at once. Once the bound is reached, this does.
    """
    policy = getattr(context.get("task"), "retry_policy", None)
    if (
        not isinstance(error, InsufficientCreditsError)
        or error.request_id
        or not policies_can_reschedule()
        or not policy
    ):
        return False
    ti = context["ti"]
    try:
        decision = policy.evaluate(error, ti.try_number, ti.max_tries, context)
    except Exception:
        # Whatever a user's policy may raise: the task has failed for another reason, which is the one to report.
        log.exception("The retry policy could not be asked about credits that are used up")
        return False
    if decision.action.value != "reschedule":
        return False
    reschedules: Any = context.get("task_reschedule_count", 0)
    return decision.max_reschedules is None or reschedules < decision.max_reschedules


def _tell(error: KandinskyError, context: Context | None) -> None:
    """Leave the error where a gallery, or the next task, finds it without reading logs, and count it."""
    if context is None:
        return
    if not error.aggregates_errors:
        JobMetrics.of_task(context["ti"], getattr(context.get("task"), "model", None)).failed(error)
    try:
        context["ti"].xcom_push(key="error", value=error_for_xcom(error))
    except Exception:
        # Whatever an XCom backend may raise: the task has failed for another reason, which is the one to be told.
        log.exception("The error could not be put into XCom")


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
