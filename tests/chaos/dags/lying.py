"""What the chaos suite runs while the service, or Airflow, does not say what is so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

#: Another prompt in each process that renders it.
RANDOM = "{{ range(1, 99999) | random }}"


def one(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1))
    def lying() -> None:
        KandinskyTextToImageOperator(task_id="paint", prompt="a cat", deferrable=True, retries=0, **arguments)

    lying()


def batch(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1))
    def lying() -> None:
        KandinskyTextToImageBatchOperator(task_id="paint", deferrable=True, retries=0, **arguments)

    lying()


@dag(schedule=None, start_date=datetime(2026, 1, 1), params={"pictures": 8})
def many_impatient() -> None:
    @task
    def prompts(params: dict[str, Any]) -> list[str]:
        return [f"cat {number}" for number in range(params["pictures"])]

    KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True, retries=0, timeout=30).expand(
        prompt=prompts()
    )


CATS = ["cat 0", "cat 1", "cat 2"]
# Nothing but the first try: what it does not deliver is lost.
one("one_try")
batch("one_try_of_a_batch", requests=CATS)
batch("random_batch", requests=[f"{RANDOM} a", f"{RANDOM} b"])
batch("random_batch_in_waves", requests=[f"{RANDOM} a", f"{RANDOM} b"], max_in_flight=1)
many_impatient()
