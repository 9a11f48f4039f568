"""Every kind of task that the gallery shows, and one that pushes what it is given."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.sdk import BaseOperator, Context, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

FOLDER = os.environ["KANDINSKY_OUTPUT_FOLDER"]


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def every_kind():
    KandinskyTextToImageOperator(task_id="two", prompt="two newts", samples=2, seed=7)
    KandinskyTextToImageOperator(task_id="three", prompt="three otters", samples=3)
    KandinskyTextToImageOperator.partial(
        task_id="mapped", deferrable=True, map_index_template="{{ task.prompt }}"
    ).expand(prompt=["a cat", "a dog"])
    KandinskyTextToImageBatchOperator(
        task_id="batch", requests=["a lynx", "[blocked] a fox", "an owl"], on_item_failure="keep"
    )
    KandinskyTextToImageBatchOperator(
        task_id="large_batch",
        requests=[f"stamp {number}" for number in range(70)],
        output_path=f"file://{FOLDER}/stamps",
        max_xcom_items=10,
    )
    KandinskyTextToImageBatchOperator.partial(task_id="mapped_batch").expand(requests=[["a moth", "a bee"], ["a wasp"]])
    KandinskyTextToImageOperator(task_id="failed", prompt="[blocked] a wolf")
    KandinskyTextToImageOperator(task_id="unrenderable", prompt="{{ no.such.thing }}")
    KandinskyTextToImageOperator(task_id="stored", prompt="a heron", output_path=f"file://{FOLDER}/herons", samples=2)
    KandinskyTextToImageOperator(task_id="markup", prompt='<img src=x onerror=alert(1)> "a\' b"')
    submit = KandinskyTextToImageOperator(task_id="submit", prompt="a crane", wait_for_completion=False)
    KandinskyJobSensor(task_id="wait", request_id=submit.output)

    @task
    def nothing_of_ours() -> str:
        return "a report"

    nothing_of_ours()


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def under_way():
    KandinskyTextToImageOperator(task_id="paint", prompt="a slow snail", deferrable=True)


class PushXComs(BaseOperator):
    """Pushes what it is given, and has fields of the names that ours have."""

    template_fields = ("prompt", "kandinsky_conn_id", "output_path")

    def __init__(self, kandinsky_conn_id: str, output_path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prompt = "a push"
        self.kandinsky_conn_id = kandinsky_conn_id
        self.output_path = output_path

    def execute(self, context: Context) -> Any:
        xcoms = dict(context["params"]["xcoms"])
        result = xcoms.pop("return_value", None)
        for key, value in xcoms.items():
            context["ti"].xcom_push(key=key, value=value)
        return result


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"xcoms": {}, "conn_id": "kandinsky_default", "output_path": ""},
)
def any_xcoms():
    PushXComs(task_id="push", kandinsky_conn_id="{{ params.conn_id }}", output_path="{{ params.output_path }}")


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def many():
    """Never run: its task instances are there all the same."""
    KandinskyTextToImageOperator.partial(task_id="mapped").expand(prompt=[f"stamp {number}" for number in range(250)])
    KandinskyTextToImageOperator(task_id="one", prompt="a snail")


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def none_of_ours():
    @task
    def report() -> None:
        pass

    report()


every_kind()
under_way()
many()
none_of_ours()
any_xcoms()
