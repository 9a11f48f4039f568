"""What a person has to choose from: a mapped task, a batch of 60, stored images."""

import os
from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

OUTPUT_FOLDER = os.environ["KANDINSKY_OUTPUT_FOLDER"]
PROMPTS = [
    "a fox reading a newspaper, watercolour",
    "<img src=x onerror=\"document.title='hacked'\"> ![x](http://127.0.0.1:1/x.png) | `a` [click](javascript:alert(1))",
    "a night train in the mountains, woodcut",
]
SMALL = {"img_width": 512, "img_height": 512}


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def review_mapped():
    paint = KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True, **SMALL).expand(prompt=PROMPTS)
    KandinskyReviewOperator(
        task_id="review",
        images=paint.output,
        details=PROMPTS,
        subject="The images of this week",
        maximum=None,
        minimum=0,
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def review_batch():
    paint = KandinskyTextToImageBatchOperator(
        task_id="paint", requests=[f"postcard {number}" for number in range(1, 61)], deferrable=True, **SMALL
    )
    KandinskyReviewOperator(
        task_id="review",
        images=paint.output,
        details=paint.output["arguments"],
        minimum=2,
        maximum=5,
        assigned_users={"id": "admin", "name": "admin"},
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def review_stored():
    paint = KandinskyTextToImageOperator(
        task_id="paint",
        prompt="a lighthouse in a storm, oil on canvas",
        samples=3,
        output_path=f"file://{OUTPUT_FOLDER}/reviewed",
        deferrable=True,
        **SMALL,
    )
    KandinskyReviewOperator(
        task_id="review",
        images=paint.output,
        details=["a lighthouse in a storm, oil on canvas"] * 3,
        subject="The cover of this week",
        minimum=0,
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def review_timeout():
    paint = KandinskyTextToImageOperator(task_id="paint", prompt="a slow snail", samples=2, deferrable=True, **SMALL)
    KandinskyReviewOperator(
        task_id="review",
        images=paint.output,
        minimum=0,
        maximum=None,
        defaults="all",
        response_timeout=timedelta(seconds=15),
    )
    KandinskyReviewOperator(task_id="fails", images=paint.output, response_timeout=timedelta(seconds=15))


review_mapped()
review_batch()
review_stored()
review_timeout()
