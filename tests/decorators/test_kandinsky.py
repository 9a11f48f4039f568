from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.decorators.kandinsky import kandinsky_task
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.tasks.arguments import GENERATION_ARGUMENTS

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, another_run, fire


def operator_of(function: Any, *args: Any, **options: Any) -> Any:
    """The operator that a call of the decorated function makes in a DAG."""
    with DAG("gallery"):
        return kandinsky_task(**{"task_id": "paint", "poll_interval": 0.05} | options)(function)(*args).operator


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_the_function_returns_the_prompt(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    def paint(animal: str, ti: Any) -> str:
        return f"{animal} in {ti.run_id}"

    operator = operator_of(paint, "a cat", deferrable=deferrable, samples=2)
    operator.render_template_fields(ti.context_of(operator))
    urls = ti.run(operator)

    (submitted,) = sandbox.submissions
    assert submitted["payload"]["prompt"] == operator.prompt == "a cat in manual__1"
    assert len(urls) == 2
    assert (
        TextToImageRequest(**{name: getattr(operator, name) for name in GENERATION_ARGUMENTS}).payload()
        == (submitted["payload"])
    )
    # The rendered fields were written before the function was called.
    assert operator.overwrite_rtif_after_execution


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_what_is_stored_is_reused(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool) -> None:
    def paint() -> dict[str, Any]:
        return {"prompt": "a cat", "samples": 2}

    options: dict[str, Any] = {"output_path": f"file://{tmp_path}", "reuse": True, "deferrable": deferrable}
    uris = ti.run(operator_of(paint, **options))
    again = another_run()
    assert again.run(operator_of(paint, **options)) == uris
    assert again.pushed["generation"]["reused"]
    assert len(sandbox.submissions) == 1


def test_the_function_returns_arguments_which_win_over_the_decorators(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    def paint() -> dict[str, Any]:
        return {"prompt": "a cat", "samples": 3, "img_width": "512"}

    operator = operator_of(paint, samples=2, guidance_scale=7)
    ti.run(operator)

    (submitted,) = sandbox.submissions
    assert submitted["payload"] == {
        "prompt": "a cat",
        "samples": 3,
        "img_width": 512,
        "guidance_scale": 7.0,
        "seed": operator.seed,
    }


def test_what_the_function_returns_is_not_a_template(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    ti.run(operator_of(lambda: "a {{ run_id }} cat"))
    assert sandbox.submissions[0]["payload"]["prompt"] == "a {{ run_id }} cat"


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (None, "None is not allowed: it must be a prompt or a mapping of parameters"),
        (" ", "prompt=' ' is not allowed"),
        ({"samples": 2}, "prompt is missing"),
        ({"prompt": "a cat", "sample": 2}, "sample is not a parameter"),
        ({"prompt": "a cat", "samples": 9}, "samples=9 is not allowed"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_anything_is_sent(
    sandbox: Sandbox, ti: FakeTaskInstance, returned: Any, complaint: str
) -> None:
    with pytest.raises(AirflowFailException, match=complaint):
        ti.run(operator_of(lambda: returned))
    assert sandbox.count_calls() == 0


def test_the_function_is_not_called_again_by_what_resumes(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    calls = []

    def paint() -> str:
        calls.append("called")
        return f"cat {len(calls)}"

    with pytest.raises(TaskDeferred) as deferred:
        operator_of(paint, deferrable=True).execute(ti.context)
    resumed = operator_of(paint, deferrable=True)
    kwargs = (deferred.value.kwargs or {}) | {"event": fire(deferred.value.trigger)}
    resumed.resume_execution(deferred.value.method_name, kwargs, ti.context_of(resumed))

    assert calls == ["called"]
    assert resumed.prompt == "cat 1"


def test_a_retry_reattaches_to_the_job_of_the_same_prompt(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    first = ti.run(operator_of(lambda: "a cat"))
    ti.retry()
    assert ti.run(operator_of(lambda: "a cat")) == first
    assert len(sandbox.submissions) == 1


def test_it_can_be_overridden_and_expanded() -> None:
    with DAG("gallery"):

        @task.kandinsky(samples=2, retries=5)
        def paint(subject: str) -> str:
            return subject

        overridden = paint.override(task_id="again", samples=3)("a cat").operator
        mapped = paint.expand(subject=["a cat", "a dog"]).operator

    assert (overridden.task_id, overridden.samples, overridden.retries) == ("again", 3, 5)
    assert mapped.partial_kwargs["samples"] == 2
    assert mapped.operator_name == "@task.kandinsky"


def test_a_function_that_returns_a_dict_still_makes_a_task_that_returns_a_list() -> None:
    def paint() -> dict[str, str]:
        return {"prompt": "a cat"}

    assert operator_of(paint).multiple_outputs is False
    with pytest.raises(ValueError, match="multiple_outputs=True is not allowed"):
        operator_of(paint, multiple_outputs=True)
    with pytest.raises(ValueError, match="prompt='a dog' is not allowed"):
        operator_of(paint, prompt="a dog")


def test_bad_literals_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(AirflowFailException, match="samples=9 is not allowed"):
        operator_of(lambda: "a cat", samples=9)
