"""Every kind of task twice: once such that it ends in the triggerer, once such that it resumes in a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


def do_nothing(context: Any) -> None:
    """Airflow calls a success callback in a worker only, so a task that has one resumes there."""


def tasks(**ending: Any) -> None:
    def paint(task_id: str, **arguments: Any) -> KandinskyTextToImageOperator:
        return KandinskyTextToImageOperator(
            task_id=task_id, prompt="a cat", deferrable=True, **{"seed": 7} | arguments | ending
        )

    @task
    def index(url: str) -> str:
        return url.rpartition("-")[2]

    @task
    def count(pictures: list[list[str]]) -> list[int]:
        return [len(urls) for urls in pictures]

    paint("plain")
    paint("not_pushed", do_xcom_push=False)
    index.override(task_id="expand_over").expand(url=paint("expanded_over", samples=3).output)
    mapped = KandinskyTextToImageOperator.partial(task_id="mapped", deferrable=True, seed=7, **ending).expand(
        prompt=["a dog", "a newt"]
    )
    count.override(task_id="count_mapped")(mapped.output)
    submit = paint("submit", wait_for_completion=False)
    KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True, **ending)
    prepare = paint("prepare").as_setup()
    prepare >> paint("between") >> paint("clean_up").as_teardown(setups=prepare)


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def ends_in_triggerer():
    tasks()


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def resumes_in_worker():
    tasks(on_success_callback=do_nothing)


ends_in_triggerer()
resumes_in_worker()
