"""Task loops, where the Airflow has them (3.4)."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

try:
    from airflow.sdk import LoopDecision, task_group
except ImportError:
    LoopDecision = None


def third_time(*, loop: Any) -> bool:
    return loop.index == 2


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def loop_of_retries():
    """Each first try gives up before its job is finished, in the worker and in the triggerer by turns."""

    @task_group
    def again():
        retried: Any = {"retries": 2, "retry_delay": timedelta(seconds=3), "timeout": 1}
        first = KandinskyTextToImageOperator(task_id="in_worker", prompt="a cat", **retried)
        second = KandinskyTextToImageOperator(task_id="deferred", prompt="a dog", deferrable=True, seed=7, **retried)

        @task
        def check(ti: Any) -> dict[str, Any]:
            # Of this iteration.
            tasks = ("again.in_worker", "again.deferred")
            return {"urls": [ti.xcom_pull(task_ids=each)[0] for each in tasks]}

        first >> second >> check()

    @task
    def collect(ti: Any) -> dict[str, Any]:
        pull = {task_id: ti.xcom_pull(task_ids=f"again.{task_id}", key="request_id") for task_id in PAINTERS}
        return {task_id: list(ids) for task_id, ids in pull.items()} | {
            "urls": [each["urls"] for each in ti.xcom_pull(task_ids="again.check")]
        }

    again.loop(max_iterations=3, until=third_time) >> collect()


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def loop_of_many():
    """Mapped instances and batches in each iteration."""

    @task_group
    def again():
        mapped = KandinskyTextToImageOperator.partial(
            task_id="mapped",
            deferrable=True,
            output_path=f"file://{os.environ['KANDINSKY_OUTPUT_FOLDER']}/looped/{{request_id}}-{{index}}.{{extension}}",
        ).expand(prompt=["a", "b"])
        batch = KandinskyTextToImageBatchOperator(task_id="batch", requests=["c", "d"], deferrable=True)
        mapped >> batch

    again.loop(max_iterations=2)


PAINTERS = ("in_worker", "deferred")

if LoopDecision is not None:
    loop_of_retries()
    loop_of_many()
