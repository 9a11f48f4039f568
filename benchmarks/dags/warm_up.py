"""A task for each worker process, before anything is measured."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def warm_up():
    KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand(
        prompt=[f"newt {number}" for number in range(8)]
    )


warm_up()
