"""An editorial calendar: four images for each day, a person chooses one, and the site gets what it needs of it.

What a person rejects is generated again, with their comment in the prompt, at most twice. Each round has tasks of its
own, because before 3.4 Airflow keeps the first form of a task instance. The chosen image is stored as WebP with a
thumbnail, an alternative text and a JSON file that says how it came to be; then an asset event starts the DAG of the
site.

Needs Airflow 3.1, which can wait for people, and Pillow. Images are stored in the run's parameter ``output_folder``, a
URI of Airflow's object storage that the API server can read, too: it shows them to the person.
"""

import io
import json
import os
import tempfile
from datetime import datetime, timedelta
from html import escape
from typing import Any

from airflow.sdk import Asset, ObjectStoragePath, Param, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import AirflowSkipException

try:
    from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator
except ImportError:  # before Airflow 3.1
    KandinskyReviewOperator = None

OUTPUT_FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", tempfile.gettempdir())
FOLDER = Param(f"file://{OUTPUT_FOLDER}/editorial", type="string")
PUBLISHED = Asset("kandinsky_editorial_calendar")
SAMPLES = 4
#: How often a day is generated: once, and twice more if nothing pleases.
ROUNDS = 3
CALENDAR = [
    {"day": "2026-12-01", "prompt": "a lighthouse in the first snow, oil on canvas", "alt": "A lighthouse in the snow"},
    {"day": "2026-12-02", "prompt": "a night train in the mountains, woodcut", "alt": "A train at night"},
]


@task
def plan(params: dict[str, Any]) -> list[dict[str, str]]:
    return params["calendar"]


@task
def to_candidates(entries: list[dict[str, str]], images: Any, generations: Any) -> list[dict[str, Any]]:
    """What the review shows of each day, and what is kept of it; the results are in the order of the prompts."""
    return [
        entry | generation | {"urls": urls}
        for entry, urls, generation in zip(entries, images, generations, strict=True)
    ]


@task
def still_open(entries: list[dict[str, str]], chosen: Any, comments: Any) -> list[dict[str, str]]:
    """The days whose images were all rejected, each with the person's comment in its prompt."""
    rejected = [(entry, comment) for entry, rows, comment in zip(entries, chosen, comments, strict=True) if not rows]
    return [entry | {"prompt": f"{entry['prompt']}, {comment}".rstrip(", ")} for entry, comment in rejected]


@task(outlets=[PUBLISHED], trigger_rule="none_failed")
def publish(rounds: list[Any], params: dict[str, Any], outlet_events: Any) -> list[str]:
    """Store what was chosen, in the formats of the site."""
    rows = [row for chosen in rounds for rows in chosen or () for row in rows]
    if not rows:
        raise AirflowSkipException("Nothing was chosen")
    published = [publish_one(row, ObjectStoragePath(params["output_folder"]) / "published") for row in rows]
    outlet_events[PUBLISHED].extra = {"published": published}
    return published


def publish_one(row: dict[str, Any], folder: ObjectStoragePath) -> str:
    from PIL import Image  # slow to import, and no other task needs it

    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(ObjectStoragePath(row["urls"][0]).read_bytes())) as image:
        image.load()
    files = {"image": f"{row['day']}.webp", "thumbnail": f"{row['day']}-thumbnail.webp"}
    for name, size in (("image", image.size), ("thumbnail", (320, 320))):
        smaller = image.convert("RGB")
        smaller.thumbnail(size)
        content = io.BytesIO()
        smaller.save(content, "WEBP", quality=85)
        (folder / files[name]).write_bytes(content.getvalue())
    kept = ("day", "alt", "prompt", "seed", "request_id", "model", "cost")
    document = folder / f"{row['day']}.json"
    document.write_text(json.dumps(files | {name: row[name] for name in kept}, indent=2))
    return str(document)


@dag(
    dag_id="kandinsky_editorial_calendar",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={
        "calendar": Param(CALENDAR, type="array", minItems=1),
        "output_folder": FOLDER,
    },
    # A retry submits nothing again, and asks nobody twice.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def editorial_calendar():
    entries: Any = plan()
    rounds = []
    for number in range(1, ROUNDS + 1):
        paint = KandinskyTextToImageOperator.partial(
            task_id=f"paint_{number}",
            samples=SAMPLES,
            output_path="{{ params.output_folder }}/candidates/{request_id}-{index}.{extension}",
            deferrable=True,
        ).expand(prompt=entries.map(lambda entry: entry["prompt"]))
        candidates = to_candidates.override(task_id=f"candidates_{number}")(
            entries, paint.output, paint.output["generation"]
        )
        review = KandinskyReviewOperator.partial(
            task_id=f"review_{number}",
            subject="The image of {{ task.images['day'] }}",
            body="If none will do, say in the comment what is missing.",
            # None of them: the day is generated again.
            minimum=0,
            output_path="{{ params.output_folder }}/candidates/{request_id}-{index}.{extension}",
            map_index_template="{{ task.images['day'] }}",
        ).expand(images=candidates)
        rounds.append(review.output)
        if number < ROUNDS:
            entries = still_open.override(task_id=f"rejected_{number}")(
                entries, review.output, review.output["comment"]
            )
    publish(rounds)


@dag(
    dag_id="kandinsky_editorial_site",
    schedule=[PUBLISHED],
    start_date=datetime(2026, 1, 1),
    params={"output_folder": FOLDER},
    tags=["kandinsky"],
)
def editorial_site():
    @task
    def build(params: dict[str, Any]) -> str:
        """A page of all that was published so far."""
        folder = ObjectStoragePath(params["output_folder"]) / "published"
        days = [json.loads(file.read_text()) for file in sorted(folder.iterdir(), key=str) if file.suffix == ".json"]
        figures = "\n".join(
            f'<a href="{escape(day["image"])}"><img src="{escape(day["thumbnail"])}" alt="{escape(day["alt"])}"></a>'
            for day in days
        )
        page = folder / "index.html"
        page.write_text(f'<!doctype html><html lang="en"><title>Calendar</title>\n{figures}\n</html>\n')
        return str(page)

    build()


if KandinskyReviewOperator is not None:
    editorial_calendar()
    editorial_site()
