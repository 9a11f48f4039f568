"""What only one model has, through an operator, a batch and a decorator."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.decorators.kandinsky import kandinsky_task
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import ConfigurationError

from ..support.task_instance import FakeTaskInstance, paint, paint_all

MODEL = "kandinsky2.2-txt2img"


@pytest.fixture(autouse=True)
def _models(sandbox: Sandbox) -> None:
    sandbox.configure(models=[MODEL], latency=0.05)


def sent(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [each["payload"] for each in sandbox.submissions]


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_they_are_rendered_and_sent(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    own = {"prior_steps": "{{ 20 + 5 }}", "anything": {"of": ["{{ ti.run_id }}"]}}
    operator = paint(model=MODEL, img_width=768, model_parameters=own, deferrable=deferrable)
    operator.render_template_fields(ti.context_of(operator))
    assert len(ti.run(operator)) == 1
    (payload,) = sent(sandbox)
    assert payload.items() >= {"img_width": 768, "prior_steps": 25, "anything": {"of": ["manual__1"]}}.items()
    assert isinstance(payload["seed"], int)


@pytest.mark.parametrize("own", [{"seed": 7}, {"prompt": "a dog"}, {"samples": "{{ 2 }}"}])
def test_an_argument_among_them_is_refused_before_anything_is_submitted(
    sandbox: Sandbox, ti: FakeTaskInstance, own: dict[str, Any]
) -> None:
    def run() -> None:
        operator = paint(model=MODEL, model_parameters=own)
        operator.render_template_fields(ti.context_of(operator))
        ti.run(operator)

    with pytest.raises(AirflowFailException, match="not allowed beside the argument"):
        run()
    assert sent(sandbox) == []


def test_literal_ones_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(AirflowFailException, match="prior_steps"):
        paint(model=MODEL, model_parameters={"prior_steps": 0, "x": "{{ ds }}"})


def test_a_batch_has_some_for_all_and_some_for_each(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    rows = ["a cat", {"prompt": "a dog", "model_parameters": {"x": 2}}, {"prompt": "a cat", "model_parameters": None}]
    ti.run(paint_all(rows, model=MODEL, model_parameters={"x": 1, "prior_steps": 5}))
    found = {(each["prompt"], each.get("x"), each.get("prior_steps")) for each in sent(sandbox)}
    assert found == {("a cat", 1, 5), ("a dog", 2, 5), ("a cat", None, None)}
    assert len({each["seed"] for each in sent(sandbox)}) == 3


def test_a_function_may_return_some(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    def paint_a_cat() -> dict[str, Any]:
        return {"prompt": "a cat", "model_parameters": {"x": 2}}

    with DAG("gallery"):
        options = {"task_id": "paint", "model": MODEL, "model_parameters": {"x": 1, "y": 3}, "poll_interval": 0.05}
        operator: Any = kandinsky_task(**options)(paint_a_cat)().operator  # type: ignore[arg-type]  # many types
    ti.run(operator)
    (payload,) = sent(sandbox)
    assert (payload["x"], payload["y"]) == (2, 3)


def test_the_hook_checks_for_the_model_and_lists_models(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with KandinskyHook() as hook:
        assert hook.list_models() == [MODEL]
        hook.submit({"prompt": "a cat", "img_width": 768, "model_parameters": {"x": 1}}, MODEL)
    assert sent(sandbox) == [{"prompt": "a cat", "img_width": 768, "x": 1}]
    assert [each["status"] for each in sandbox.calls("models")] == [200]
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url="off"))
    with KandinskyHook() as hook, pytest.raises(ConfigurationError, match="history_url"):
        hook.list_models()
