"""What the gallery shows in the browser's tests."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def postcards():
    cards = KandinskyTextToImageBatchOperator(
        task_id="postcards",
        requests=[
            {"prompt": "a ferry at dawn, gouache", "seed": 3},
            {"prompt": "[blocked] the portrait of a famous person", "seed": 6},
            {"prompt": "a market full of oranges, linocut", "seed": 8},
        ],
        on_item_failure="keep",
        deferrable=True,
    )
    cards >> KandinskyTextToImageOperator(
        task_id="poster", prompt="a lighthouse in a storm, oil on canvas", samples=2, seed=1, deferrable=True
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def odd_pictures():
    KandinskyTextToImageOperator(task_id="markup", prompt='<img src=x onerror="document.title=\'hacked\'"> "a\' b"')
    folder = f"file://{os.environ['KANDINSKY_OUTPUT_FOLDER']}"
    KandinskyTextToImageOperator(task_id="stored", prompt="a heron", output_path=f"{folder}/herons")


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def slow_picture():
    KandinskyTextToImageOperator(task_id="paint", prompt="a slow snail", deferrable=True)


postcards()
odd_pictures()
slow_picture()
