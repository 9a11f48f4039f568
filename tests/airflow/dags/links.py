"""Where the link to the image leads."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


class OwnOperator(KandinskyTextToImageOperator):
    """A user's own, whose name the API server does not know."""


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def links():
    KandinskyTextToImageOperator(task_id="in_worker", prompt="a cat")
    KandinskyTextToImageOperator(task_id="deferred", prompt="a cat", deferrable=True)
    KandinskyTextToImageOperator.partial(task_id="mapped", deferrable=True).expand(prompt=["a cat", "[fail] cat"])
    KandinskyTextToImageBatchOperator(task_id="batch", requests=["a cat"], deferrable=True)
    OwnOperator(task_id="own", prompt="a cat", deferrable=True)
    OwnOperator.partial(task_id="own_mapped").expand(prompt=["a cat"])

    @task.kandinsky
    def decorated() -> str:
        return "a cat"

    decorated()
    submit = KandinskyTextToImageOperator(task_id="submit", prompt="a cat", wait_for_completion=False)
    KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True)
    KandinskyJobSensor(task_id="poke", request_id=submit.output, poke_interval=1)


links()
