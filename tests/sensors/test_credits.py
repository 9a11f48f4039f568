from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, AirflowSensorTimeout
from airflow_provider_kandinsky.hooks.shared_client import shared_client
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.triggers.credits import KandinskyCreditsTrigger

from ..support.airflow_names import AirflowRescheduleException, AirflowSkipException, TaskDeferred
from ..support.task_instance import FakeTaskInstance


def wait_for(minimum_credits: Any, **arguments: Any) -> KandinskyCreditsSensor:
    defaults = {"task_id": "paint", "dag": DAG("gallery"), "poke_interval": 0.05, "timeout": 5}
    return KandinskyCreditsSensor(minimum_credits=minimum_credits, **defaults | arguments)


both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@both_ways
def test_enough_is_enough_at_once(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(credits=3, free_credits=2)
    assert ti.run(wait_for("5", deferrable=deferrable)) == 5
    assert ti.deferrals == 0
    assert sandbox.count_calls() == sandbox.count_calls("credits") == 1


@both_ways
def test_it_waits_for_a_refill_and_through_what_may_pass(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.configure(credits=9.5)
    sandbox.fault("credits", body={"credits": 2})
    sandbox.fault("credits", status=500)
    sandbox.fault("credits", drop=True)
    sandbox.fault("credits", body="<html>")
    assert ti.run(wait_for(9, deferrable=deferrable)) == 9.5
    assert ti.deferrals == deferrable


@both_ways
def test_an_account_without_a_record_has_no_credits(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(credits=None)
    with pytest.raises(AirflowSensorTimeout):
        ti.run(wait_for(1, timeout=0.2, deferrable=deferrable))


def test_the_end_of_a_deferred_wait_says_what_was_left(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(credits=1.5)
    message = r"Timed out after 0\.2 s waiting for 9 credits: 1\.5 are left\. Nothing was submitted"
    with pytest.raises(AirflowSensorTimeout, match=message):
        ti.run(wait_for(9, timeout=0.2, deferrable=True))
    with pytest.raises(AirflowSkipException):
        ti.run(wait_for(9, timeout=0.2, deferrable=True, soft_fail=True))


@both_ways
def test_a_bad_key_ends_the_wait(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    if deferrable:
        sandbox.fault("credits", status=503)
    sandbox.fault("credits", status=401, body={"error": "Invalid API key"}, times=9)
    with pytest.raises(AirflowFailException, match="HTTP 401"):
        ti.run(wait_for(1, deferrable=deferrable))
    assert ti.pushed["error"]["type"] == "AuthenticationError"


@both_ways
@pytest.mark.parametrize("asked", [{"soft_fail": True}, {"never_fail": True}], ids=["soft_fail", "never_fail"])
def test_a_bad_key_skips_where_that_is_asked_for(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, asked: dict[str, Any]
) -> None:
    sandbox.fault("credits", status=401, body={"error": "Invalid API key"})
    with pytest.raises(AirflowSkipException):
        ti.run(wait_for(1, deferrable=deferrable, **asked))
    assert ti.deferrals == 0
    assert ti.pushed["error"]["type"] == "AuthenticationError"


def test_a_key_that_was_changed_while_others_hold_the_shared_client_is_read_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[Any]:
        async with shared_client("kandinsky_default"):
            monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", "SG_new"))
            sandbox.configure(api_keys=["SG_new"])
            return [event.payload async for event in KandinskyCreditsTrigger(1).run()]

    assert asyncio.run(ask()) == [{"credits": 100.0}]
    assert [each["status"] for each in sandbox.calls("credits")] == [401, 200]


@pytest.mark.parametrize("minimum", [-1, float("nan"), True, "many"])
def test_a_bad_minimum_is_refused_before_anything_is_asked(
    sandbox: Sandbox, ti: FakeTaskInstance, minimum: Any
) -> None:
    with pytest.raises(AirflowFailException, match=f"minimum_credits={minimum!r} is not allowed.*0 or more"):
        wait_for(minimum)
    templated = wait_for("{{ params.minimum }}")
    templated.minimum_credits = minimum
    with pytest.raises(AirflowFailException, match=f"minimum_credits={minimum!r} is not allowed.*0 or more"):
        ti.run(templated)
    assert sandbox.count_calls() == 0


def test_the_deferral_holds_numbers_and_an_absolute_deadline(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(credits=1)
    with pytest.raises(TaskDeferred) as deferred:
        wait_for(9, deferrable=True, timeout=60).execute(ti.context)
    _, kwargs = deferred.value.trigger.serialize()
    assert kwargs.pop("deadline") == pytest.approx(time.time() + 60, abs=5)
    assert kwargs == {"minimum_credits": 9.0, "kandinsky_conn_id": "kandinsky_default", "poke_interval": 0.05}


def test_a_trigger_with_arguments_of_another_version_runs(sandbox: Sandbox) -> None:
    async def fire() -> Any:
        return [event.payload async for event in KandinskyCreditsTrigger(1, something_new=1).run()]

    assert asyncio.run(fire()) == [{"credits": 100.0}]


def test_between_two_polls_no_worker_is_held(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(credits=1)
    sensor = wait_for(9, mode="reschedule", poke_interval=60, timeout=600)
    with pytest.raises(AirflowRescheduleException) as rescheduled:
        sensor.execute(ti.context)
    assert rescheduled.value.reschedule_date.timestamp() == pytest.approx(time.time() + 60, abs=5)

    sandbox.configure(credits=9)
    assert sensor.execute(ti.context) == 9
