"""Three mapped generations, for the calls of one to be counted."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def calls():
    @task
    def prompts() -> list[str]:
        return [f"cat {number}" for number in range(3)]

    KandinskyTextToImageOperator.partial(task_id="mapped", deferrable=True).expand(prompt=prompts())


calls()
