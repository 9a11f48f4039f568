"""This package's operator, as its documentation shows it."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def kandinsky():
    KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand(
        prompt=[f"cat {number}" for number in range(100)]
    )


kandinsky()
