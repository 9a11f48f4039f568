"""Generate images until a person chooses one, at most three times: a task loop of Airflow 3.4. Older releases find no
DAG here; on those see ``editorial_calendar.py``, which has tasks of its own for each round.

Whoever rejects all images says in the comment what is missing, and the next iteration has it in its prompt. Each
iteration is one generation, with its own seed and its own cost. If nothing is chosen in the last one, the loop fails;
the images stay in the output folder, a path that the API server can read, too: it shows them to the person.
"""

import os
import tempfile
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator

try:
    from airflow.sdk import LoopDecision, task_group
except ImportError:  # before Airflow 3.4
    LoopDecision = None
else:
    from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator

OUTPUT_FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", tempfile.gettempdir())
#: The maximum number of generations of a run, and so its maximum cost.
MAX_ROUNDS = 3


def one_is_chosen(*, loop: Any) -> Any:
    chosen, comment = loop.result["chosen"], loop.result["comment"]
    # Airflow shows at most 512 bytes of a reason.
    return LoopDecision(stop=bool(chosen), reason="chosen" if chosen else f"rejected: {comment[:100]}")


@dag(
    dag_id="kandinsky_repaint_until_chosen",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"prompt": Param("a lighthouse in the first snow, oil on canvas", type="string", minLength=1)},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def repaint_until_chosen():
    @task_group
    def attempt():
        @task
        def describe(params: dict[str, Any], *, loop: Any) -> str:
            """The prompt, with what the person missed in all iterations before."""
            if loop.previous is None:
                return params["prompt"]
            return f"{loop.previous['prompt']}, {loop.previous['comment']}".rstrip(", ")

        prompt = describe()
        paint = KandinskyTextToImageOperator(
            task_id="paint",
            prompt=prompt,
            samples=4,
            output_path=f"file://{OUTPUT_FOLDER}/repainted/{{request_id}}-{{index}}.{{extension}}",
            deferrable=True,
        )
        review = KandinskyReviewOperator(
            task_id="review",
            images=paint.output,
            details=paint.output["generation"],
            subject="Round {{ loop.index + 1 }} of {{ loop.max_iterations }}",
            body="If none will do, say in the comment what is missing.",
            # None of them: the next iteration paints again.
            minimum=0,
        )

        @task
        def conclude(prompt: str, chosen: list[str], comment: str) -> dict[str, Any]:
            return {"prompt": prompt, "chosen": chosen, "comment": comment}

        conclude(prompt, review.output, review.output["comment"])

    @task
    def publish(ti: Any) -> str:
        # Outside of the loop, xcom_pull returns the results of all iterations.
        (uri,) = ti.xcom_pull(task_ids="attempt.conclude")[-1]["chosen"]
        return uri

    attempt.loop(max_iterations=MAX_ROUNDS, until=one_is_chosen) >> publish()


if LoopDecision is not None:
    repaint_until_chosen()
