"""A running task that generates from many prompts. Imported when it runs, not when its DAG is parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.compat.airflow import AirflowTaskTimeout
from airflow_provider_kandinsky.operators._batch_start import open_run
from airflow_provider_kandinsky.operators._batch_waits import wait_for_jobs, wait_for_others
from airflow_provider_kandinsky.operators._runtime import (
    defer_until_day_ends,
    defer_until_reset,
    keeps_record,
    open_service_of,
)
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.results.errors import ReuseIndexError
from airflow_provider_kandinsky.segmind.errors import RateLimitedError, ServiceUnavailableError
from airflow_provider_kandinsky.tasks.error_translation import is_rescheduled
from airflow_provider_kandinsky.triggers.hand_over import PendingJob


class BatchTask:
    """One process of a task.

    :param task: its arguments, rendered.
    """

    def __init__(self, task: KandinskyTextToImageBatchOperator, context: Context) -> None:
        self._task = task
        self._context = context

    def can_wait_here(self) -> bool:
        """Whether it is known what an ended deferral was waiting for."""
        return keeps_record(self._task, self._context)

    def wait_here(self, *, is_over: bool) -> list[dict[str, Any]] | None:
        """Go on after a deferral that has ended by itself.

        :param is_over: whether there is time for one poll only.
        """
        return self.run(is_over=is_over)

    def run(
        self,
        *,
        is_resumed: bool = True,
        outcomes: Mapping[str, Any] | None = None,
        is_over: bool | None = None,
        resets: int = 0,
        **carried_over: Any,
    ) -> list[dict[str, Any]] | None:
        """
        :param is_resumed: whether an earlier process of this try has begun.
        :param outcomes: what became of jobs that were deferred for.
        :param is_over: see :meth:`wait_here`; ``None`` unless a deferral has ended by itself.
        :param resets: how often in a row the submission has waited for the rate limit to reset.
        :param carried_over: see :meth:`~.batch.run.BatchRun.carry_over`.
        """
        task, context = self._task, self._context
        with task._failures(context), open_service_of(task) as service:
            run = open_run(task, context, service, carried_over, outcomes, is_resumed=is_resumed)
            if not is_resumed:
                run.find_stored()
            if outcomes is None:
                run.begin()
            else:
                run.apply_outcomes(outcomes)
            if is_over is not None:
                run.wait_for_in_flight(is_last_poll=is_over)
            elif outcomes is None:
                run.state.count_reattached()
            if not is_resumed and context["ti"].try_number == 1:
                run.log_quote()
            while (jobs := self._submit(run, resets)) or run.waits_for_others:
                if jobs:
                    wait_for_jobs(task, run, jobs)
                else:
                    wait_for_others(task, run, service, resets)
            # What has stopped it today is not carried over to tomorrow.
            defer_until_day_ends(task, run.submission.stopped, run.carry_over() | {"stopped": None})
            return self._deliver(run)

    def _submit(self, run: BatchRun, resets: int) -> Sequence[PendingJob]:
        try:
            return run.submit(self._task.max_in_flight)
        except (RateLimitedError, ServiceUnavailableError, ReuseIndexError) as error:
            if self._task.deferrable and isinstance(error, RateLimitedError):
                defer_until_reset(self._task, error, resets, run.carry_over())
            if not run.state.are_kept and run.state.known_ids():
                # To run again would submit again what is done, so that is delivered.
                run.submission.stopped = error
                return []
            error.retry_hint = "Nothing is in flight; a retry goes on with the items that are not done."
            raise
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. Submissions were under way, which may have been accepted and billed; "
                + (
                    "a retry re-attaches those that are known, and asks the request history for the others"
                    if run.state.are_kept
                    else "a retry submits them again"
                )
            ) from error

    def _deliver(self, run: BatchRun) -> list[dict[str, Any]] | None:
        run.state.reopen()
        stopped = run.submission.stopped
        if stopped and run.state.are_kept and is_rescheduled(stopped, self._context):
            raise stopped
        delivery = run.delivery()
        rows = delivery.push(self._context, self._task.max_xcom_items)
        self._task.lineage = delivery.lineage(self._task.model, with_rows=rows is not None)
        # What stops the submitting concerns the account, or the whole batch: that is no item's failure.
        failure = delivery.failure() or (stopped if stopped and not stopped.retryable else None)
        is_kept = self._task.on_item_failure == "keep" and stopped is None and not delivery.concerns_account
        if failure is not None and not is_kept:
            if rows is not None and self._task.do_xcom_push:
                # Airflow pushes nothing of a task that fails, and most of this is paid for.
                self._context["ti"].xcom_push(key="return_value", value=rows)
            raise failure
        return rows
