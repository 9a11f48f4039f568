"""Generate images until a check passes, at most four: a task loop of Airflow 3.4. Older releases find no DAG here.

Each iteration is a generation with its own seed and its own cost; its retries cost nothing. A detailed image compresses
badly, so the check is for the size of the image's file. If no iteration passes, the loop fails; the images are kept.
"""

from datetime import datetime, timedelta
from typing import Any

import httpx
from airflow.sdk import Param, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator

try:
    from airflow.sdk import LoopDecision, task_group
except ImportError:  # before Airflow 3.4
    LoopDecision = None

#: The maximum number of images of a run, and so its maximum cost.
MAX_IMAGES = 4


def detailed_enough(*, loop: Any, params: dict[str, Any]) -> Any:
    size, wanted = loop.result["size"], params["minimum_size"]
    return LoopDecision(stop=size >= wanted, reason=f"the file has {size} bytes; at least {wanted} are wanted")


@dag(
    dag_id="kandinsky_repeat_until_detailed",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"minimum_size": Param(20_000, type="integer", minimum=1)},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def repeat_until_detailed():
    @task_group
    def attempt():
        paint = KandinskyTextToImageOperator(
            task_id="paint", prompt="a market hall seen from above, every stall in detail, engraving", deferrable=True
        )

        @task
        def measure(urls: list[str]) -> dict[str, Any]:
            response = httpx.get(urls[0]).raise_for_status()
            return {"url": urls[0], "size": len(response.content)}

        measure(paint.output)

    @task
    def best(ti: Any) -> str:
        # Outside of the loop, xcom_pull returns the results of all iterations.
        measured = ti.xcom_pull(task_ids="attempt.measure")
        return max(measured, key=lambda image: image["size"])["url"]

    attempt.loop(max_iterations=MAX_IMAGES, until=detailed_enough) >> best()


if LoopDecision is not None:
    repeat_until_detailed()
