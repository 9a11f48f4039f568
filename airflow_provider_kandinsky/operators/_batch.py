"""A running task that generates from many prompts. Imported when it runs, not when its DAG is parsed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.compat.airflow import AirflowFailException, AirflowTaskTimeout
from airflow_provider_kandinsky.operators._batch_items import Wanted
from airflow_provider_kandinsky.operators._runtime import (
    defer_until_day_ends,
    defer_until_reset,
    keeps_record,
    open_service_of,
)
from airflow_provider_kandinsky.segmind.errors import (
    RateLimitedError,
    ServiceUnavailableError,
    error_from_dict,
)
from airflow_provider_kandinsky.tasks.deferral import defer_until_enough, resume_delay
from airflow_provider_kandinsky.tasks.error_translation import is_rescheduled
from airflow_provider_kandinsky.triggers.hand_over import (
    DEFERRED_RULE,
    LAST_RULE,
    WORKER_RULE,
    HandOverRule,
    PendingJob,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


class BatchTask:
    """One process of a task.

    :param task: its arguments, rendered.
    """

    def __init__(self, task: KandinskyTextToImageBatchOperator, context: Context) -> None:
        self._task = task
        self._context = context
        self._pinned: dict[str, Any] | None = None

    def can_wait_here(self) -> bool:
        """Whether it is known what an ended deferral was waiting for."""
        return keeps_record(self._task, self._context)

    def wait_here(self, *, is_over: bool) -> list[dict[str, Any]] | None:
        """Go on after a deferral that has ended by itself.

        :param is_over: whether there is time for one poll only.
        """
        return self.run(is_last_poll=is_over, waits_here=not is_over)

    def run(
        self,
        *,
        is_resumed: bool = True,
        outcomes: Mapping[str, Any] | None = None,
        is_last_poll: bool = False,
        waits_here: bool = False,
        entries: Sequence[Mapping[str, Any]] | None = None,
        stopped: dict[str, Any] | None = None,
        pinned: Mapping[str, Any] | None = None,
        resets: int = 0,
        **_unknown_kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """
        :param is_resumed: whether an earlier process of this try has begun.
        :param outcomes: what became of jobs that were deferred for.
        :param is_last_poll: whether what is in flight has no time left.
        :param waits_here: whether to wait here for what is in flight, as its trigger cannot.
        :param entries: what was submitted by earlier processes of this try, where there is no store.
        :param stopped: why those have stopped submitting.
        :param pinned: which requests the try has begun with, where there is no store.
        :param resets: how often in a row the submission has waited for the rate limit to reset.
        """
        task, context = self._task, self._context
        with task._failures(context), open_service_of(task) as service:
            ledger = self._ledger(service.ledger_path, entries, outcomes, is_resumed=is_resumed)
            base_url = service.hook.get_conn().base_url
            wanted = Wanted.of_try(task, context, base_url, ledger, is_resumed=is_resumed, pinned=pinned)
            self._pinned = wanted.pinned
            run = BatchRun(
                wanted.state,
                service,
                began_at=context["ti"].start_date.timestamp(),
                timeout=task.timeout,
                group_size=task.group_size,
                poll_interval=task.poll_interval,
                output_path=wanted.output_path,
                max_cost=task.max_cost,
                stopped=wanted.changed or (error_from_dict(stopped) if stopped else None),
            )
            self._go_on(run, outcomes, is_last_poll=is_last_poll, waits_here=waits_here)
            while jobs := self._submit(run, resets):
                self._wait(run, jobs)
            carried_over = self._carried_over(run)
            carried_over.pop("stopped", None)  # the next day is another
            defer_until_day_ends(task, run.stopped, carried_over)
            return self._deliver(run)

    def _ledger(
        self,
        ledger_path: str | None,
        entries: Sequence[Mapping[str, Any]] | None,
        outcomes: Mapping[str, Any] | None,
        *,
        is_resumed: bool,
    ) -> BatchLedger:
        """What earlier processes and tries have submitted; see :meth:`run`."""
        ledger = BatchLedger.read(
            self._context,
            durable=self._task.durable,
            ledger_path=ledger_path,
            carried_over=entries or (),
            is_resumed=is_resumed,
        )
        if outcomes is not None and entries is None and not ledger.is_kept:
            raise AirflowFailException(
                "What the task had submitted was lost on the way through its deferral (as in dag.test()), and no "
                f"record is kept of it: {', '.join(outcomes)}. It is billed, and a clear submits it again"
            )
        return ledger

    def _go_on(
        self, run: BatchRun, outcomes: Mapping[str, Any] | None, *, is_last_poll: bool, waits_here: bool
    ) -> None:
        """Go on from where earlier processes and tries have ended; see :meth:`run`."""
        if outcomes is None:
            run.begin()
        else:
            run.apply_outcomes(outcomes)
        if is_last_poll or waits_here:
            run.wait_for_in_flight(is_last_poll=is_last_poll)
        elif outcomes is None:
            run.state.count_reattached()

    def _submit(self, run: BatchRun, resets: int) -> list[PendingJob]:
        try:
            return run.submit(self._task.max_in_flight)
        except (RateLimitedError, ServiceUnavailableError) as error:
            if self._task.deferrable and isinstance(error, RateLimitedError):
                defer_until_reset(self._task, error, resets, self._carried_over(run))
            if not run.state.are_kept and run.state.known_ids():
                # To run again would submit again what is done, so that is delivered.
                run.stop(error)
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

    def _wait(self, run: BatchRun, jobs: list[PendingJob]) -> None:
        self._task.in_flight_count = len(jobs)
        rule = self._rule(run, jobs)
        if self._task.deferrable:
            defer_until_enough(
                self._task,
                jobs,
                rule,
                kwargs=self._carried_over(run),
                kandinsky_conn_id=self._task.kandinsky_conn_id,
                model=self._task.model,
                poll_interval=self._task.poll_interval,
            )
        try:
            run.wait(jobs, rule)
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. {len(jobs)} requests of the batch may still be running, and will then be billed. "
                + ("A retry re-attaches them" if run.state.are_kept else "A retry submits them again")
            ) from error
        self._task.in_flight_count = 0

    def _rule(self, run: BatchRun, jobs: Sequence[PendingJob]) -> HandOverRule:
        """When this process, or the one that resumes, goes on though jobs are in flight."""
        if not run.has_more:
            return LAST_RULE if self._task.deferrable else WORKER_RULE
        rule = DEFERRED_RULE if self._task.deferrable else WORKER_RULE
        if len(jobs) < self._task.max_in_flight:
            # Refused for now: whether a job is over has nothing to do with when that ends.
            rule = replace(rule, wake_at=time.time() + resume_delay(run.refusal))
        return rule

    def _deliver(self, run: BatchRun) -> list[dict[str, Any]] | None:
        run.state.reopen()
        if run.stopped and run.state.are_kept and is_rescheduled(run.stopped, self._context):
            raise run.stopped
        delivery = run.delivery()
        rows = delivery.push(self._context, self._task.max_xcom_items)
        self._task.lineage = delivery.lineage(self._task.model, with_rows=rows is not None)
        # What stops the submitting concerns the account, or the whole batch: that is no item's failure.
        failure = delivery.failure() or (run.stopped if run.stopped and not run.stopped.retryable else None)
        is_kept = self._task.on_item_failure == "keep" and run.stopped is None and not delivery.concerns_account
        if failure is not None and not is_kept:
            if rows is not None and self._task.do_xcom_push:
                # Airflow pushes nothing of a task that fails, and most of this is paid for.
                self._context["ti"].xcom_push(key="return_value", value=rows)
            raise failure
        return rows

    def _carried_over(self, run: BatchRun) -> dict[str, Any]:
        """What the next process of this try has to be given."""
        entries = run.state.export_records()
        carried = {
            "entries": entries,
            "stopped": run.stopped and run.stopped.to_dict(),
            "pinned": None if entries is None else self._pinned,
        }
        return {name: value for name, value in carried.items() if value is not None}
