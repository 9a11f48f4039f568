"""How a batch waits, by deferring or in its worker: for its own jobs, and for other tasks that make its images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.compat.airflow import AirflowTaskTimeout
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.tasks.deferral import defer_until, defer_until_enough, resume_delay
from airflow_provider_kandinsky.triggers.hand_over import (
    DEFERRED_RULE,
    LAST_RULE,
    WORKER_RULE,
    HandOverRule,
    PendingJob,
)


def wait_for_jobs(task: KandinskyTextToImageBatchOperator, run: BatchRun, jobs: Sequence[PendingJob]) -> None:
    """Wait until enough jobs are over."""
    task.in_flight_count = len(jobs)
    rule = _rule(task, run, jobs)
    if task.deferrable:
        defer_until_enough(
            task,
            jobs,
            rule,
            kwargs=run.carry_over(),
            kandinsky_conn_id=task.kandinsky_conn_id,
            model=task.model,
            poll_interval=task.poll_interval,
        )
    try:
        run.wait(jobs, rule)
    except AirflowTaskTimeout as error:
        raise AirflowTaskTimeout(
            f"{error}. {len(jobs)} requests of the batch may still be running, and will then be billed. "
            + ("A retry re-attaches them" if run.state.are_kept else "A retry submits them again")
        ) from error
    task.in_flight_count = 0


def wait_for_others(task: KandinskyTextToImageBatchOperator, run: BatchRun, service: Service, resets: int) -> None:
    """Nothing of this task is in flight, and other tasks are making images that it wants.

    :param resets: how often in a row the submission has waited for the rate limit to reset.
    """
    claimed = run.reuse.claimed if run.reuse is not None else {}
    seconds = max(claimed.values(), default=0.0)
    task.log.info(
        "Other tasks are making %d of the images; waiting for them, for %.0f s at most", len(claimed), seconds
    )
    interval = task.claim_policy.interval
    if task.deferrable:
        defer_until(task, time.time() + interval, run.carry_over() | {"resets": resets})
    service.runner.run(asyncio.sleep(interval))


def _rule(task: KandinskyTextToImageBatchOperator, run: BatchRun, jobs: Sequence[PendingJob]) -> HandOverRule:
    """When this process, or the one that resumes, goes on though jobs are in flight."""
    if not run.submission.has_more:
        return LAST_RULE if task.deferrable else WORKER_RULE
    rule = DEFERRED_RULE if task.deferrable else WORKER_RULE
    if len(jobs) < task.max_in_flight:
        # Refused for now: whether a job is over has nothing to do with when that ends.
        rule = replace(rule, wake_at=time.time() + resume_delay(run.submission.refusal))
    return rule
