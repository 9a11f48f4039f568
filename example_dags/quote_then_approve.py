"""Ask for the price, let a person approve it, and only then submit (Airflow 3.1 and later).

What is stored already costs nothing, so the quote of a second run is $0.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

OUTPUT_PATH = "file:///tmp/kandinsky/catalogue/{key}-{request_id}-{index}.{extension}"


@dag(
    dag_id="kandinsky_quote_then_approve",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def quote_then_approve():
    @task
    def read() -> list[dict[str, Any]]:
        return [
            {"key": "4711", "prompt": "a sea green tea pot on white"},
            {"key": "815", "prompt": "a brass desk lamp on white"},
        ]

    @task
    def quote(requests: list[dict[str, Any]]) -> str:
        with KandinskyHook() as hook:
            return str(hook.quote(requests, output_path=OUTPUT_PATH, reuse=True))

    rows = read()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Submit these images?",
        body="{{ ti.xcom_pull(task_ids='quote') }}",
        execution_timeout=timedelta(days=1),
    )
    paint = KandinskyTextToImageBatchOperator(
        task_id="paint", requests=rows, output_path=OUTPUT_PATH, reuse=True, deferrable=True
    )
    quote(rows) >> approve >> paint


quote_then_approve()
