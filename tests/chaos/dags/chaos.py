"""What the chaos suite runs: one picture or many, in the worker or deferred, with a place to be killed at the end."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator

#: While this file is there, tasks stay between the delivery of their result and their end.
HOLD = Path(os.environ["CHAOS_FOLDER"], "hold-delivery")


def hold_delivery(context: Any, result: Any) -> None:
    while HOLD.exists():
        time.sleep(0.1)


def do_nothing(context: Any) -> None:
    """Airflow calls a success callback in a worker only, so a task that has one resumes there."""


SETTINGS: dict[str, Any] = {
    "prompt": "{{ params.prompt }}",
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
    "timeout": 600,
}


def one(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1), params={"prompt": "a cat", "seed": 7})
    def chaos() -> None:
        KandinskyTextToImageOperator(task_id="paint", post_execute=hold_delivery, **SETTINGS | arguments)

    chaos()


def many(dag_id: str, **arguments: Any) -> None:
    @dag(dag_id=dag_id, schedule=None, start_date=datetime(2026, 1, 1), params={"subject": "cat", "pictures": 50})
    def chaos() -> None:
        from airflow.sdk import task

        @task
        def prompts(params: dict[str, Any]) -> list[str]:
            return [f"{params['subject']} {number}" for number in range(params["pictures"])]

        KandinskyTextToImageOperator.partial(
            task_id="paint", **{name: value for name, value in SETTINGS.items() if name != "prompt"} | arguments
        ).expand(prompt=prompts())

    chaos()


one("one_in_worker", deferrable=False, poll_interval=1)
# While the API server is away, each try ends within seconds: they have to last longer than that.
one("one_deferred", deferrable=True, retries=6)
one("one_deferred_random", deferrable=True, seed=-1)
many("many_deferred", deferrable=True, retries=3)
# While its queue is away, each attempt to send a task costs one of its tries: they have to last longer than that.
many("many_distributed", deferrable=True, retries=5, retry_delay=timedelta(seconds=10))
many("many_resumed", deferrable=True, on_success_callback=do_nothing)
