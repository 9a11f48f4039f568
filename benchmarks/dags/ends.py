"""Many mapped generations that end at the same moment."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def ends():
    KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand(
        prompt=[f"cat {number}" for number in range(200)]
    )


ends()
