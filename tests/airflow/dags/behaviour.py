"""DAGs for what can only be seen in a real Airflow."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


@dag(schedule=None, start_date=datetime(2026, 1, 1), render_template_as_native_obj=False)
def expand_over_urls():
    paint = KandinskyTextToImageOperator(
        task_id="paint", prompt="{{ dag.dag_id }} {{ run_id }}", samples="{{ 1 + 2 }}", deferrable=True
    )

    @task
    def last_part(url: str) -> str:
        return url.rpartition("-")[2]

    last_part.expand(url=paint.output)


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"kandinsky_conn_id": "kandinsky_secret"})
def every_way_to_leak_a_key():
    KandinskyTextToImageOperator(task_id="deferred", prompt="a cat", deferrable=True)
    KandinskyTextToImageOperator(task_id="in_worker", prompt="a cat")
    KandinskyTextToImageOperator(task_id="blocked", prompt="[blocked]", deferrable=True)
    KandinskyTextToImageOperator(
        task_id="echoed", prompt="a cat", model="no-such-model", retries=1, retry_delay=timedelta(seconds=1)
    )
    submit = KandinskyTextToImageOperator(task_id="submit", prompt="a cat", wait_for_completion=False)
    KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True)


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 3, "retry_delay": timedelta(seconds=1)})
def final_failures():
    KandinskyTextToImageOperator(task_id="bad_parameter", prompt="a cat", samples="{{ 9 }}")
    KandinskyTextToImageOperator.partial(task_id="mapped", prompt="a cat").expand(samples=[9])
    KandinskyTextToImageOperator(task_id="blocked", prompt="[blocked]", deferrable=True)
    KandinskyTextToImageOperator(task_id="no_such_model", prompt="a cat", model="no-such-model", deferrable=True)


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 1, "retry_delay": timedelta(seconds=3)})
def gives_up_too_early():
    KandinskyTextToImageOperator(task_id="paint", prompt="a cat", timeout=1)


expand_over_urls()
every_way_to_leak_a_key()
final_failures()
gives_up_too_early()
