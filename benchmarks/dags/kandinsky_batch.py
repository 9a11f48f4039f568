"""This package's batch operator: one task for all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


def batch(dag_id: str, *, deferrable: bool) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1), params={"items": 100})
    def kandinsky_batch():
        @task
        def prompts(params: dict[str, Any]) -> list[str]:
            return [f"cat {number}" for number in range(params["items"])]

        KandinskyTextToImageBatchOperator(
            task_id="paint", requests=prompts(), deferrable=deferrable, max_xcom_items=10_000
        )

    kandinsky_batch()


batch("kandinsky_batch", deferrable=True)
batch("kandinsky_batch_in_worker", deferrable=False)
