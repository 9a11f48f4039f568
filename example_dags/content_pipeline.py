"""A daily content pipeline: write prompts, generate an image of each, and put them on a contact sheet.

The number of images is known only when the DAG runs: dynamic task mapping creates one task per prompt, and none of them
holds a worker while it waits. The sheet is written to the run's parameter ``output_folder``; its default is the
environment variable ``KANDINSKY_OUTPUT_FOLDER``.

As with every daily DAG, Airflow starts a run of the latest day when you unpause it.
"""

import os
import tempfile
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator

SUBJECTS = [
    "a lighthouse",
    "a night train",
    "a herring gull",
    "a rooftop garden",
    "a snowed-in harbour",
    "an old piano",
]
OUTPUT_FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", str(Path(tempfile.gettempdir(), "kandinsky-content")))

SHEET = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
  body {{ margin: 2rem; background: #14161a; color: #d8dce3; font: 15px/1.5 system-ui, sans-serif }}
  main {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)) }}
  figure {{ margin: 0; overflow: hidden; border-radius: .5rem; background: #1f232a }}
  img {{ display: block; width: 100%; aspect-ratio: 1; object-fit: cover }}
  figcaption {{ padding: .6rem .9rem }}
</style>
<h1>{title}</h1>
<main>
{figures}
</main>
</html>
"""
FIGURE = """<figure>
  <a href="{url}"><img src="{url}" alt="{prompt}" loading="lazy"></a>
  <figcaption>{prompt}</figcaption>
</figure>"""


@dag(
    dag_id="kandinsky_content_pipeline",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={
        "subjects": Param(SUBJECTS, type="array", items={"type": "string"}, minItems=1),
        "output_folder": Param(OUTPUT_FOLDER, type="string"),
    },
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def content_pipeline():
    @task
    def write_prompts(params: dict[str, Any]) -> list[str]:
        return [f"{subject} in the last light of the day, oil on canvas" for subject in params["subjects"]]

    prompts = write_prompts()
    paint = KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand(prompt=prompts)

    @task
    def contact_sheet(prompts: list[str], images: list[list[str]], params: dict[str, Any], run_id: str) -> str:
        title = f"Kandinsky, {run_id}"
        figures = [
            FIGURE.format(url=escape(url), prompt=escape(prompt))
            for prompt, urls in zip(prompts, images, strict=True)
            for url in urls
        ]
        sheet = Path(params["output_folder"], "contact-sheet.html")
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_text(SHEET.format(title=escape(title), figures="\n".join(figures)), encoding="utf-8")
        return str(sheet)

    contact_sheet(prompts, paint.output)


content_pipeline()
