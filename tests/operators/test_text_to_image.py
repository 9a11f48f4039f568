from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, AirflowTaskTimeout, triggers_can_set_xcom
from airflow_provider_kandinsky.operators.text_to_image import GENERATION_ARGUMENTS, KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    JobFailedError,
    JobTimeoutError,
    RateLimitedError,
    SubmissionUnknownError,
)

from ..support.airflow_names import TaskDeferred
from ..support.execution_timeout import execution_timeout
from ..support.task_instance import FakeTaskInstance, paint, paint_all

FAULTS: list[dict[str, Any]] = [
    {"status": 429, "headers": {"retry-after": "0"}},
    {"status": 500, "body": {"error": "Internal server error"}},
    {"status": 502, "body": "<html><title>502 Bad Gateway</title></html>"},
    {"body": '{"status": "COMPL'},
    {"drop": True},
    {"status": 404, "body": {"error": "not found"}},
]

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])

BEYOND = [
    ("prompt", " ", "not blank"),
    ("scheduler", "Euler", "DDIM or P-Sampler"),
    ("samples", 0, "from 1 to 8"),
    ("samples", 9, "from 1 to 8"),
    ("num_inference_steps", 9, "from 10 to 40"),
    ("num_inference_steps", 41, "from 10 to 40"),
    ("guidance_scale", "much", "a finite number"),
    ("seed", -2, "an integer from 0 to 2**64 - 1, or -1"),
    ("img_width", 5121024, "512 or 1024"),
    ("img_height", 768, "512 or 1024"),
    ("base64", "perhaps", "true or false"),
]


@both_ways
def test_urls_come_in_order_and_ids_before_any_waiting(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    urls = ti.run(paint(samples="8", deferrable=deferrable))

    (submitted,) = sandbox.submissions
    assert [url.rpartition("-")[2] for url in urls] == [f"{index}.png" for index in range(8)]
    assert list(ti.pushed) == ["request_id", "generation"]
    assert ti.pushed["request_id"] == submitted["request_id"]
    generation = ti.pushed["generation"]
    assert generation["model"] == "kandinsky2.1-txt2im"
    assert generation["cost"] == pytest.approx(0.08)
    assert generation["seed"] == submitted["payload"]["seed"]


def test_without_waiting_the_request_id_is_returned(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    returned = ti.run(paint(wait_for_completion=False, deferrable=True))

    assert returned == sandbox.submissions[0]["request_id"] == ti.pushed["request_id"]
    assert sandbox.count_calls("status") == 0


@pytest.mark.parametrize(("name", "value", "allowed"), BEYOND, ids=[f"{name}={value}" for name, value, _ in BEYOND])
def test_a_bad_literal_is_refused_when_the_dag_is_parsed(sandbox: Sandbox, name: str, value: Any, allowed: str) -> None:
    with pytest.raises(AirflowFailException) as failure:
        paint(**{name: value})

    assert f"{name}={value!r}" in str(failure.value)
    assert allowed in str(failure.value)
    assert sandbox.count_calls() == 0


@pytest.mark.parametrize(("name", "value", "allowed"), BEYOND, ids=[f"{name}={value}" for name, value, _ in BEYOND])
def test_a_bad_templated_value_is_refused_before_anything_is_sent(
    sandbox: Sandbox, ti: FakeTaskInstance, name: str, value: Any, allowed: str
) -> None:
    operator = paint(**{name: "{{ value }}"})
    operator.render_template_fields({"value": value})  # type: ignore[typeddict-item]  # a context of our own

    with pytest.raises(AirflowFailException) as failure:
        ti.run(operator)

    assert f"{name}={str(value)!r}" in str(failure.value)
    assert allowed in str(failure.value)
    assert sandbox.count_calls() == 0


def test_base64_without_a_place_for_the_images_is_refused(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException, match="base64=True needs an output_path"):
        ti.run(paint(base64=True))
    assert sandbox.count_calls() == 0


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", 0), ("timeout", 3601), ("poll_interval", 0), ("on_unknown_submit", "shrug")]
)
def test_bad_settings_are_refused_when_the_dag_is_parsed(name: str, value: Any) -> None:
    with pytest.raises(AirflowFailException, match=f"{name}={value!r} is not allowed"):
        paint(**{name: value})


def test_what_makes_the_image_is_templated() -> None:
    assert {*GENERATION_ARGUMENTS, "model", "kandinsky_conn_id", "output_path"} == set(paint().template_fields)


@pytest.mark.parametrize("operator", [KandinskyTextToImageOperator, KandinskyTextToImageBatchOperator])
def test_a_mapped_task_has_airflows_own_defaults(operator: Any) -> None:
    """Airflow reads them from the classes that an operator is made of; only the command is particular to Bash."""
    name = "prompt" if operator is KandinskyTextToImageOperator else "requests"
    ours, theirs = (
        each.partial(task_id="mapped", dag=DAG("gallery")).expand(**{argument: ["a cat"]}).partial_kwargs
        for each, argument in ((operator, name), (BashOperator, "bash_command"))
    )
    assert {"retries", "trigger_rule", "pool_slots"} <= theirs.keys()
    own = {"params", "dag", "task_group", "task_id", "start_date", "end_date"}
    assert {key: ours[key] for key in theirs.keys() - own} == {key: theirs[key] for key in theirs.keys() - own}


@pytest.mark.parametrize("paint_it", [paint, lambda **given: paint_all(["a cat"], **given)], ids=["one", "batch"])
def test_a_connection_that_is_not_there_is_final(ti: FakeTaskInstance, paint_it: Callable[..., Any]) -> None:
    with pytest.raises(AirflowFailException, match=r"There is no connection 'nowhere'.*No retry can cure this"):
        ti.run(paint_it(kandinsky_conn_id="nowhere"))


@both_ways
def test_a_failed_job_may_be_retried(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    with pytest.raises(JobFailedError, match=r"billed: no\] A retry submits it again") as failure:
        ti.run(paint(prompt="[fail]", deferrable=deferrable))
    assert failure.value.request_id == ti.pushed["request_id"]


@both_ways
def test_blocked_content_is_not_retried(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    with pytest.raises(AirflowFailException, match=r"blocked this content.*No retry can cure this"):
        ti.run(paint(prompt="[blocked]", deferrable=deferrable))


@both_ways
def test_at_the_deadline_the_error_says_what_becomes_of_the_money(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.configure(latency=60)

    with pytest.raises(
        JobTimeoutError, match=r"may still be running.*billed: maybe.*A retry re-attaches to it"
    ) as failure:
        ti.run(paint(timeout=0.3, poll_interval=10, deferrable=deferrable))

    assert failure.value.request_id == ti.pushed["request_id"]
    assert sandbox.count_calls("status") == 1


def test_the_deferral_holds_ids_and_numbers_and_an_absolute_deadline(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    before = time.time()
    with pytest.raises(TaskDeferred) as deferral:
        paint(deferrable=True, timeout=600, poll_interval=3).execute(ti.context)

    _, kwargs = deferral.value.trigger.serialize()
    assert kwargs.pop("deadline") == pytest.approx(before + 600, abs=10)
    assert kwargs.pop("submitted_at") == pytest.approx(before, abs=10)
    can_end_there = {"push_result": True, "push_length": False}
    assert kwargs == {
        "request_id": ti.pushed["request_id"],
        "kandinsky_conn_id": "kandinsky_default",
        "model": "kandinsky2.1-txt2im",
        "poll_interval": 3,
        "seed": sandbox.submissions[0]["payload"]["seed"],
        "delivery": can_end_there if triggers_can_set_xcom() else None,
        "samples": 1,
    }


@pytest.mark.parametrize("finished", [True, False])
def test_when_the_deferral_itself_times_out_there_is_one_last_poll(
    sandbox: Sandbox, ti: FakeTaskInstance, finished: bool
) -> None:
    sandbox.configure(latency=0 if finished else 60)
    operator = paint(deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context)

    def resume() -> Any:
        return operator.resume_execution("__fail__", {"error": "Trigger timeout"}, ti.context)

    if finished:
        assert resume() == [f"{sandbox.url}/generations/{ti.pushed['request_id']}-0.png"]
    else:
        with pytest.raises(JobTimeoutError, match="A retry re-attaches to it") as failure:
            resume()
        assert failure.value.request_id == ti.pushed["request_id"]
    assert sandbox.count_calls("status") == 1


def test_an_execution_timeout_names_the_request(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(latency=60)
    billed = pytest.raises(AirflowTaskTimeout, match=r"may still be running, and will then be billed")
    with billed as failure, execution_timeout(lambda: sandbox.count_calls("status") > 0):
        ti.run(paint())
    assert f"Request {ti.pushed['request_id']}" in str(failure.value)


def test_an_execution_timeout_during_the_submission_says_so(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", stall=5)
    unknown = pytest.raises(AirflowTaskTimeout, match=r"A submission was under way, which may have been accepted")
    with unknown, execution_timeout(lambda: "kandinsky_job" in ti.store.values):
        ti.run(paint())
    assert ti.store.values["kandinsky_job"]["request_id"] is None


def not_durable(ti: FakeTaskInstance) -> KandinskyTextToImageOperator:
    return paint(durable=False)


def without_store(ti: FakeTaskInstance) -> KandinskyTextToImageOperator:
    """As before Airflow 3.3."""
    ti.store = None
    return paint()


@pytest.mark.parametrize("unrecorded", [not_durable, without_store])
@pytest.mark.parametrize("is_submitting", [True, False])
def test_an_execution_timeout_promises_nothing_without_a_record(
    sandbox: Sandbox, ti: FakeTaskInstance, unrecorded: Any, is_submitting: bool
) -> None:
    sandbox.configure(latency=60)
    if is_submitting:
        sandbox.fault("submit", after=True, stall=5)
    operator = unrecorded(ti)
    message = "A submission was under way.*; a retry" if is_submitting else r"may still be running.*\. A retry"
    repeated = pytest.raises(AirflowTaskTimeout, match=f"{message} submits it again$")
    with (
        repeated,
        execution_timeout(lambda: bool(sandbox.submissions if is_submitting else sandbox.count_calls("status"))),
    ):
        ti.run(operator)


@both_ways
def test_a_long_list_of_faults_is_waited_out(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    for number in range(20):
        sandbox.fault("status", **FAULTS[number % len(FAULTS)])
    assert len(ti.run(paint(deferrable=deferrable))) == 1
    assert len(sandbox.submissions) == 1
    assert sandbox.count_calls("status") == 21


def test_a_lost_submission_is_not_sent_again(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=500)

    with pytest.raises(SubmissionUnknownError, match="A retry searches the request history"):
        ti.run(paint())
    assert sandbox.count_calls("submit") == 1


def test_a_lost_submission_without_a_ledger_is_final(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=500)

    with pytest.raises(AirflowFailException, match=r"may have been accepted.*might submit it twice, so there is none"):
        ti.run(paint(durable=False))


def test_a_long_rate_limit_defers_and_then_submits(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=429, headers={"retry-after": "40"})
    operator = paint(deferrable=True)

    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(ti.context)
    assert 44 <= deferral.value.trigger.moment.timestamp() - time.time() <= 55
    assert ti.store.values == {}

    with pytest.raises(TaskDeferred) as next_deferral:
        operator.resume_execution(deferral.value.method_name, {"event": None}, ti.context)
    assert next_deferral.value.method_name == "execute_complete"
    assert len(sandbox.submissions) == 1


def test_a_long_rate_limit_does_not_hold_a_task_that_may_not_defer(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=429, headers={"retry-after": "40"})
    with pytest.raises(RateLimitedError, match="Nothing was accepted; a retry submits it"):
        ti.run(paint())


def test_a_killed_task_says_that_its_job_may_be_billed(
    sandbox: Sandbox, ti: FakeTaskInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = paint(wait_for_completion=False)
    operator.on_kill()
    assert "billed" not in capsys.readouterr().out

    ti.run(operator)
    operator.on_kill()

    assert f"Request {ti.pushed['request_id']} was not cancelled and may still be billed" in capsys.readouterr().out
