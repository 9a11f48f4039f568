"""Twenty quick jobs: resumed in a worker, and ended in the triggerer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from benchmarks.held_back import HeldBackOperator

SETTINGS: dict[str, Any] = {"schedule": None, "start_date": datetime(2026, 1, 1)}
PROMPTS = [f"cat {number}" for number in range(20)]


def do_nothing(context: Any) -> None:
    """Airflow calls a success callback in a worker only, so a task that has one resumes there."""


@dag(**SETTINGS)
def race_in_worker():
    HeldBackOperator.partial(task_id="paint", deferrable=True, on_success_callback=do_nothing).expand(prompt=PROMPTS)


@dag(**SETTINGS)
def race_in_triggerer():
    KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand(prompt=PROMPTS)


race_in_worker()
race_in_triggerer()
