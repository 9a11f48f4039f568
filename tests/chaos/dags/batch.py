"""What the chaos suite runs of batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


def batch(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1), params={"items": 100, "subject": "cat"})
    def chaos() -> None:
        @task
        def prompts(params: dict[str, Any]) -> list[str]:
            return [f"{params['subject']} {number}" for number in range(params["items"])]

        KandinskyTextToImageBatchOperator(
            task_id="paint",
            requests=prompts(),
            timeout=600,
            **{"max_in_flight": 50, "retries": 2, "retry_delay": timedelta(seconds=1)} | arguments,
        )

    chaos()


batch("batch_in_worker", deferrable=False)
batch("batch_deferred", deferrable=True)
# While its queue is away, each attempt to send a task costs one of its tries: they have to last longer than that.
batch(
    "batch_distributed",
    deferrable=True,
    max_in_flight=100,
    max_xcom_items=1000,
    retries=5,
    retry_delay=timedelta(seconds=10),
)
