"""What a running task of either operator needs: the service, and Airflow's ways to wait and to fail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import pendulum
from airflow.sdk import Context

from airflow_provider_kandinsky.compat.airflow import task_state_store
from airflow_provider_kandinsky.durable.errors import BudgetExceededError
from airflow_provider_kandinsky.durable.service import Service, open_service
from airflow_provider_kandinsky.durable.stores import ledger_path_of
from airflow_provider_kandinsky.hooks.connection import read_settings
from airflow_provider_kandinsky.operators._base import GenerationOperator
from airflow_provider_kandinsky.segmind.errors import KandinskyError, RateLimitedError
from airflow_provider_kandinsky.tasks.deferral import MAX_RESETS, day_end, defer_until, resume_delay
from airflow_provider_kandinsky.tasks.error_translation import translate_operator_errors


def open_service_of(task: GenerationOperator) -> AbstractContextManager[Service]:
    """The service as a task's arguments say."""
    return open_service(
        task.kandinsky_conn_id, task.model, task.on_unknown_submit, task.poll_policy, durable=task.durable
    )


def report_errors(task: GenerationOperator, context: Context | None) -> AbstractContextManager[None]:
    """See :func:`~.tasks.error_translation.translate_operator_errors`."""
    return translate_operator_errors(context, is_kept=lambda: context is not None and keeps_record(task, context))


def keeps_record(task: GenerationOperator, context: Context) -> bool:
    """Whether the next process will know what this one has submitted."""
    if not task.durable or task_state_store(context) is not None:
        return task.durable
    try:
        return ledger_path_of(read_settings(task.kandinsky_conn_id)) is not None
    except KandinskyError:
        return False  # a connection that cannot be used names no place


def defer_until_reset(
    task: GenerationOperator, error: RateLimitedError, resets: int, kwargs: Mapping[str, Any]
) -> None:
    """Defer until the rate limit resets, unless it has too often. Nothing was accepted.

    :param resets: how often in a row the submission has waited for that.
    :param kwargs: what the next process of this try has to be given.
    """
    if resets < MAX_RESETS:
        moment = time.time() + resume_delay(error)
        task.log.info("Rate limited; submitting at %s", pendulum.from_timestamp(moment))
        defer_until(task, moment, {**kwargs, "resets": resets + 1})


def defer_until_day_ends(task: GenerationOperator, error: KandinskyError | None, kwargs: Mapping[str, Any]) -> None:
    """Defer until the day of a used-up budget has ended, if that is what the task is to do. Nothing was accepted.

    :param error: why the task has stopped submitting.
    :param kwargs: what the next process of this try has to be given.
    """
    if not isinstance(error, BudgetExceededError) or error.until is None:
        return
    if task.deferrable and task.on_budget == "wait":
        moment = day_end(error)
        task.log.info("%s. Submitting at %s", error.message, pendulum.from_timestamp(moment))
        defer_until(task, moment, kwargs)
