"""Ask for the price, let a person approve it, and only then submit (Airflow 3.1 and later).

What is stored already costs nothing, so the quote of a second run is $0.
"""

import os
import tempfile
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except ImportError:  # before Airflow 3.1
    ApprovalOperator = None

OUTPUT_FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", tempfile.gettempdir())
OUTPUT_PATH = "{{ params.output_folder }}/{key}-{request_id}-{index}.{extension}"


@dag(
    dag_id="kandinsky_quote_then_approve",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"output_folder": Param(f"file://{OUTPUT_FOLDER}/catalogue", type="string")},
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
    def quote(requests: list[dict[str, Any]], output_path: str) -> str:
        with KandinskyHook() as hook:
            return str(hook.quote(requests, output_path=output_path, reuse=True))

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
    quote(rows, OUTPUT_PATH) >> approve >> paint


if ApprovalOperator is not None:
    quote_then_approve()
