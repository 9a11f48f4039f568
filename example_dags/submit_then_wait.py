"""Submit first, wait later: other tasks run while the image is generated.

With ``wait_for_completion=False`` the operator ends when the job is accepted, and returns its request id. The sensor
waits for that job, and returns the URLs.
"""

import logging
from datetime import datetime, timedelta

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


@dag(
    dag_id="kandinsky_submit_then_wait",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def submit_then_wait():
    submit = KandinskyTextToImageOperator(
        task_id="submit",
        prompt="a fox reading a newspaper, watercolour",
        wait_for_completion=False,
    )
    wait = KandinskyJobSensor(task_id="wait", request_id=submit.output, deferrable=True)

    @task
    def write_caption(request_id: str) -> str:
        return f"The morning fox (job {request_id})"

    @task
    def publish(caption: str, urls: list[str]) -> dict[str, str]:
        logging.getLogger(__name__).info("%s: %s", caption, urls[0])
        return {"caption": caption, "image": urls[0]}

    publish(write_caption(submit.output), wait.output)


submit_then_wait()
