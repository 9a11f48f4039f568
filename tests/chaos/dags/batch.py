"""What the chaos suite runs of batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


def batch(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1), params={"items": 100})
    def chaos() -> None:
        @task
        def prompts(params: dict[str, Any]) -> list[str]:
            return [f"cat {number}" for number in range(params["items"])]

        KandinskyTextToImageBatchOperator(
            task_id="paint",
            requests=prompts(),
            max_in_flight=50,
            retries=2,
            retry_delay=timedelta(seconds=1),
            timeout=600,
            **arguments,
        )

    chaos()


batch("batch_in_worker", deferrable=False)
batch("batch_deferred", deferrable=True)
