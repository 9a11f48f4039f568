from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.sdk import DAG, PokeReturnValue
from airflow_names import AirflowRescheduleException, AirflowSkipException, TaskDeferred
from task_instance import TaskInstance, paint

from airflow_provider_kandinsky.capabilities import AirflowFailException, AirflowSensorTimeout
from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

every_way = pytest.mark.parametrize(
    "way", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "deferrable"]
)


def wait_for(request_id: str, **arguments: Any) -> KandinskyJobSensor:
    defaults = {"task_id": "wait", "dag": DAG("gallery"), "poke_interval": 0.1, "timeout": 5}
    return KandinskyJobSensor(request_id=request_id, **defaults | arguments)


def wait_out(ti: TaskInstance, sensor: KandinskyJobSensor) -> Any:
    """Run a sensor to its end, starting it anew as often as it reschedules itself."""
    while True:
        try:
            returned = ti.run(sensor)
        except AirflowRescheduleException:
            continue
        return returned


@pytest.fixture
def submitted(sandbox: Sandbox, ti: TaskInstance) -> str:
    return ti.run(paint(wait_for_completion=False, samples=2))


@every_way
def test_urls_reach_xcom(sandbox: Sandbox, ti: TaskInstance, submitted: str, way: dict[str, Any]) -> None:
    assert wait_out(ti, wait_for(submitted, **way)) == [
        f"{sandbox.url}/generations/{submitted}-{index}.png" for index in range(2)
    ]
    assert ti.pushed["generation"]["request_id"] == submitted
    assert len(sandbox.submissions) == 1


@every_way
@pytest.mark.parametrize("rendered", ["", " ", "None", None, 7, "r 1", "r\n1", "r\0", "\ud800", "r" * 201])
def test_what_is_no_id_is_not_waited_for(
    sandbox: Sandbox, ti: TaskInstance, way: dict[str, Any], rendered: Any
) -> None:
    sensor = wait_for("{{ ti.xcom_pull('submit') }}", **way)
    sensor.request_id = rendered
    with pytest.raises(AirflowFailException, match=re.escape(f"request_id={rendered!r:.200} is not allowed")):
        ti.run(sensor)
    assert sandbox.count_calls() == 0


@pytest.mark.parametrize("request_id", ["", "None", "r 1", "\u00e4", "r" * 201])
def test_a_literal_that_is_no_id_breaks_the_dag(request_id: str) -> None:
    with pytest.raises(AirflowFailException, match=f"request_id={request_id!r:.200} is not allowed"):
        wait_for(request_id)


@every_way
def test_an_expired_id_says_so(sandbox: Sandbox, ti: TaskInstance, way: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("airflow_provider_kandinsky.segmind.polling.UNKNOWN_ID_TOLERANCE", 0.0)
    with pytest.raises(AirflowFailException, match=r"kept for one hour after submission.*request gone"):
        wait_out(ti, wait_for("gone", **way))


@every_way
def test_a_failed_job_fails_the_task_at_once(sandbox: Sandbox, ti: TaskInstance, way: dict[str, Any]) -> None:
    request_id = ti.run(paint(prompt="[fail]", wait_for_completion=False))
    with pytest.raises(AirflowFailException, match="The job failed"):
        wait_out(ti, wait_for(request_id, **way))


@every_way
def test_soft_fail_skips_instead(sandbox: Sandbox, ti: TaskInstance, way: dict[str, Any]) -> None:
    request_id = ti.run(paint(prompt="[fail]", wait_for_completion=False))
    with pytest.raises(AirflowSkipException):
        wait_out(ti, wait_for(request_id, soft_fail=True, **way))


@pytest.mark.parametrize("way", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
@pytest.mark.parametrize(("soft_fail", "outcome"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_the_timeout_is_a_sensors(
    sandbox: Sandbox, ti: TaskInstance, way: dict[str, Any], soft_fail: bool, outcome: type[Exception]
) -> None:
    sandbox.configure(latency=60)
    request_id = ti.run(paint(wait_for_completion=False))
    with pytest.raises(outcome):
        wait_out(ti, wait_for(request_id, timeout=0.3, soft_fail=soft_fail, **way))


@every_way
def test_outages_are_waited_out(sandbox: Sandbox, ti: TaskInstance, submitted: str, way: dict[str, Any]) -> None:
    sandbox.fault("status", status=502, body="<html>", times=1)
    sandbox.fault("status", drop=True, times=1)
    assert len(wait_out(ti, wait_for(submitted, **way))) == 2


def test_an_unfinished_job_is_not_done(sandbox: Sandbox, ti: TaskInstance) -> None:
    sandbox.configure(latency=60)
    request_id = ti.run(paint(wait_for_completion=False))
    answer = wait_for(request_id).poke(ti.context)
    assert isinstance(answer, PokeReturnValue)
    assert not answer.is_done


def test_the_deferral_holds_no_key(sandbox: Sandbox, ti: TaskInstance, submitted: str) -> None:
    with pytest.raises(TaskDeferred) as deferral:
        wait_for(submitted, deferrable=True).execute(ti.context)
    assert sandbox.api_key not in str(deferral.value.trigger.serialize())
    assert sandbox.api_key not in repr(deferral.value.trigger)
