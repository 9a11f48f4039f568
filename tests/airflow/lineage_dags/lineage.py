"""Every kind of task once, for OpenLineage to hear of."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

FOLDER = f"file://{os.environ['KANDINSKY_OUTPUT_FOLDER']}"


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def heard_of():
    painted = {"prompt": "a secret campaign", "seed": 7}
    KandinskyTextToImageOperator(task_id="blocking", deferrable=False, **painted)
    KandinskyTextToImageOperator(task_id="deferred", deferrable=True, output_path=FOLDER, **painted)
    KandinskyTextToImageOperator(task_id="blocked", deferrable=True, prompt="[blocked] a secret campaign")
    submit = KandinskyTextToImageOperator(task_id="submit", wait_for_completion=False, **painted)
    KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True)
    KandinskyTextToImageBatchOperator(
        task_id="batch", requests=["a secret campaign", "another secret campaign"], deferrable=True, output_path=FOLDER
    )


heard_of()
