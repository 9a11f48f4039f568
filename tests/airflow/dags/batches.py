"""Batches, and asset events, which only a real Airflow has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import Asset, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), params={"items": 1000, "max_xcom_items": 1000})
def one_batch():
    @task
    def prompts(params: dict[str, Any]) -> list[str]:
        return [f"cat {number}" for number in range(params["items"])]

    KandinskyTextToImageBatchOperator(task_id="paint", requests=prompts(), deferrable=True, max_xcom_items=1000)


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def pictures_as_assets():
    batch = {"requests": ["a cat", "a dog"], "outlets": Asset("of_a_batch")}
    KandinskyTextToImageBatchOperator(task_id="batch", deferrable=True, **batch)
    KandinskyTextToImageOperator(
        task_id="deferred", prompt="a cat", deferrable=True, outlets=Asset("of_a_deferred_one")
    )
    KandinskyTextToImageOperator(task_id="in_worker", prompt="a cat", outlets=Asset("of_one_in_the_worker"))
    submit = KandinskyTextToImageOperator(task_id="submit", prompt="a cat", wait_for_completion=False)
    KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True, outlets=Asset("of_a_sensor"))


one_batch()
pictures_as_assets()
