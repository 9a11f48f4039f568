"""As much as the gallery has to show; never run, see :mod:`benchmarks.gallery`."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def large_gallery():
    prompts = [f"prompt number {number}" for number in range(1000)]
    KandinskyTextToImageOperator.partial(task_id="mapped").expand(prompt=prompts)
    KandinskyTextToImageBatchOperator(task_id="batch", requests=prompts * 10)


large_gallery()
