"""What is stored already, wanted again by mapped tasks and by a batch."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import Asset, dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", "/tmp")


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def wanted_every_day():
    KandinskyTextToImageOperator.partial(
        task_id="mapped", output_path=f"file://{FOLDER}/every_day/mapped", reuse=True, deferrable=True
    ).expand(prompt=["a cat", "a dog"])
    KandinskyTextToImageOperator(
        task_id="in_worker", prompt="an owl", output_path=f"file://{FOLDER}/every_day/in_worker", reuse=True
    )
    KandinskyTextToImageBatchOperator(
        task_id="batch",
        requests=[{"key": "a", "prompt": "a newt"}, {"key": "b", "prompt": "a lynx"}],
        output_path=f"file://{FOLDER}/every_day/{{key}}-{{request_id}}.{{extension}}",
        reuse=True,
        deferrable=True,
        outlets=Asset("every_day"),
    )


wanted_every_day()
