"""One image: one task generates it, the next one reads its URL from XCom."""

import logging
from datetime import datetime, timedelta

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


@dag(
    dag_id="kandinsky_one_picture",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    # A retry re-attaches to the submitted job, so it costs nothing.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def one_picture():
    paint = KandinskyTextToImageOperator(
        task_id="paint",
        prompt="a lighthouse in a storm, oil on canvas",
        negative_prompt="people, text",
        img_width=512,
        img_height=512,
        # No worker waits for the image: the triggerer does.
        deferrable=True,
    )

    @task
    def show(urls: list[str]) -> None:
        for url in urls:
            logging.getLogger(__name__).info("Painted: %s", url)

    show(paint.output)


one_picture()
