from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, PokeReturnValue

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, AirflowSensorTimeout
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import ImageUnavailableError
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.airflow_names import AirflowRescheduleException, AirflowSkipException, TaskDeferred
from ..support.task_instance import QUICK, FakeTaskInstance, fire, paint

every_way = pytest.mark.parametrize(
    "way", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "deferrable"]
)


def wait_for(request_id: str, **arguments: Any) -> KandinskyJobSensor:
    defaults = {"task_id": "wait", "dag": DAG("gallery"), "poke_interval": 0.1, "timeout": 5}
    sensor = KandinskyJobSensor(request_id=request_id, **defaults | arguments)
    sensor.poll_policy = QUICK
    return sensor


def wait_out(ti: FakeTaskInstance, sensor: KandinskyJobSensor) -> Any:
    """Run a sensor to its end, starting it again as often as it reschedules itself."""
    while True:
        try:
            returned = ti.run(sensor)
        except AirflowRescheduleException:
            continue
        return returned


@pytest.fixture
def submitted(sandbox: Sandbox, ti: FakeTaskInstance) -> str:
    return ti.run(paint(wait_for_completion=False, samples=2))


@every_way
def test_urls_reach_xcom(sandbox: Sandbox, ti: FakeTaskInstance, submitted: str, way: dict[str, Any]) -> None:
    assert wait_out(ti, wait_for(submitted, **way)) == [
        f"{sandbox.url}/generations/{submitted}-{index}.png" for index in range(2)
    ]
    assert ti.pushed["generation"]["request_id"] == submitted
    assert len(sandbox.submissions) == 1


@every_way
@pytest.mark.parametrize("rendered", ["", " ", "None", None, 7, "r 1", "r\n1", "r\0", "\ud800", "r" * 201])
def test_what_is_no_id_is_not_waited_for(
    sandbox: Sandbox, ti: FakeTaskInstance, way: dict[str, Any], rendered: Any
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


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_an_unknown_id_fails_the_task_after_the_grace_period(sandbox: Sandbox, ti: FakeTaskInstance, mode: str) -> None:
    sensor = wait_for("gone", mode=mode)
    sensor.poll_policy = replace(QUICK, not_found_grace_period=0.5)
    started = time.time()
    with pytest.raises(AirflowFailException, match=r"kept for one hour after submission.*request gone"):
        wait_out(ti, sensor)
    assert time.time() - started >= 0.5
    assert sandbox.count_calls("status") >= 2


def test_an_id_unknown_to_the_triggerer_fails_the_task(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sensor = wait_for("gone", deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(ti.context)
    trigger = deferral.value.trigger
    trigger.submitted_at -= RECORD_LIFETIME
    with pytest.raises(AirflowFailException, match=r"kept for one hour after submission.*request gone"):
        sensor.execute_complete(ti.context, fire(trigger))
    assert sandbox.count_calls("status") == 1


@every_way
def test_an_id_that_is_not_known_for_a_moment_is_waited_for(
    sandbox: Sandbox, ti: FakeTaskInstance, submitted: str, way: dict[str, Any]
) -> None:
    sandbox.fault("status", status=404, body={"error": "not found"}, times=3)
    assert len(wait_out(ti, wait_for(submitted, **way))) == 2


def test_in_one_process_the_minute_of_404_begins_again_with_a_response(
    sandbox: Sandbox, ti: FakeTaskInstance, submitted: str
) -> None:
    sensor, a_while_ago = wait_for(submitted), datetime.now(UTC) - timedelta(minutes=10)
    sandbox.configure(latency=3600)
    request_id = sensor.request_id = ti.run(paint(wait_for_completion=False))
    ti.start_date = a_while_ago
    assert not sensor.poke(ti.context).is_done
    sandbox.fault("status", status=404, body={"error": "not found"})
    assert not sensor.poke(ti.context).is_done
    assert sandbox.count_calls("status", request_id) == 2


@pytest.fixture
def polled_for_long(ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mode reschedule, each poke in a process of its own."""
    since = datetime.now(UTC) - timedelta(minutes=10)
    monkeypatch.setattr(ti, "get_first_reschedule_date", lambda _: since)


@pytest.mark.usefixtures("polled_for_long")
@pytest.mark.parametrize("latency", [0, 60])
def test_between_processes_one_404_is_waited_out(sandbox: Sandbox, ti: FakeTaskInstance, latency: float) -> None:
    sandbox.configure(latency=latency)
    request_id = ti.run(paint(wait_for_completion=False))
    sandbox.fault("status", status=404, times=2)
    sensor = wait_for(request_id, mode="reschedule")
    sensor.poll_policy = replace(QUICK, not_found_grace_period=0.5)
    assert sensor.poke(ti.context).is_done == (latency == 0)


@pytest.mark.usefixtures("polled_for_long")
def test_between_processes_a_minute_of_404_is_the_end(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sensor = wait_for("gone", mode="reschedule")
    sensor.poll_policy = replace(QUICK, not_found_grace_period=0.5)
    with pytest.raises(AirflowFailException, match="HTTP 404"):
        sensor.poke(ti.context)
    assert sandbox.count_calls("status") > 2


@every_way
def test_a_refusal_of_the_key_is_waited_out(
    sandbox: Sandbox, ti: FakeTaskInstance, submitted: str, way: dict[str, Any]
) -> None:
    sandbox.fault("status", status=403, body="<html>", times=1)
    sandbox.fault("result", status=401, body={"error": "no"}, times=1)
    assert len(wait_out(ti, wait_for(submitted, **way))) == 2


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_each_poke_reads_the_key_again(
    sandbox: Sandbox, ti: FakeTaskInstance, submitted: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = wait_for(submitted, mode=mode)
    sandbox.configure(api_keys=["SG_new"])
    assert not sensor.poke(ti.context).is_done
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", "SG_new"))
    sensor.poke(ti.context)
    assert [each["status"] for each in sandbox.calls("status")] == [401, 200]


@every_way
def test_a_failed_job_fails_the_task_at_once(sandbox: Sandbox, ti: FakeTaskInstance, way: dict[str, Any]) -> None:
    request_id = ti.run(paint(prompt="[fail]", wait_for_completion=False))
    with pytest.raises(AirflowFailException, match="The job failed"):
        wait_out(ti, wait_for(request_id, **way))


@every_way
def test_soft_fail_skips_instead(sandbox: Sandbox, ti: FakeTaskInstance, way: dict[str, Any]) -> None:
    request_id = ti.run(paint(prompt="[fail]", wait_for_completion=False))
    with pytest.raises(AirflowSkipException):
        wait_out(ti, wait_for(request_id, soft_fail=True, **way))


skipping = pytest.mark.parametrize(
    "asked", [{"soft_fail": True}, {"never_fail": True}], ids=["soft_fail", "never_fail"]
)


@every_way
@skipping
def test_what_is_no_id_skips_where_that_is_asked_for(
    sandbox: Sandbox, ti: FakeTaskInstance, way: dict[str, Any], asked: dict[str, Any]
) -> None:
    sensor = wait_for("{{ ti.xcom_pull('submit') }}", **way, **asked)
    sensor.request_id = "None"
    with pytest.raises(AirflowSkipException, match="request_id='None' is not allowed"):
        ti.run(sensor)
    assert ti.pushed["error"]["type"] == "BadRequestError"


@every_way
@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        ({}, ImageUnavailableError),
        ({"soft_fail": True}, ImageUnavailableError),
        ({"never_fail": True}, AirflowSkipException),
    ],
    ids=["neither", "soft_fail", "never_fail"],
)
def test_what_a_retry_may_cure_is_skipped_by_never_fail_alone(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    submitted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: dict[str, Any],
    asked: dict[str, Any],
    outcome: type[Exception],
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("image", status=503, times=2)
    with pytest.raises(outcome):
        wait_out(ti, wait_for(submitted, output_path=f"file://{tmp_path}/{{index}}.{{extension}}", **way, **asked))


@pytest.mark.parametrize("way", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
@pytest.mark.parametrize(("soft_fail", "outcome"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_the_timeout_is_a_sensors(
    sandbox: Sandbox, ti: FakeTaskInstance, way: dict[str, Any], soft_fail: bool, outcome: type[Exception]
) -> None:
    sandbox.configure(latency=60)
    request_id = ti.run(paint(wait_for_completion=False))
    with pytest.raises(outcome):
        wait_out(ti, wait_for(request_id, timeout=0.3, soft_fail=soft_fail, **way))


@every_way
def test_outages_are_waited_out(sandbox: Sandbox, ti: FakeTaskInstance, submitted: str, way: dict[str, Any]) -> None:
    sandbox.fault("status", status=502, body="<html>", times=1)
    sandbox.fault("status", drop=True, times=1)
    assert len(wait_out(ti, wait_for(submitted, **way))) == 2


def test_an_unfinished_job_is_not_done(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(latency=60)
    request_id = ti.run(paint(wait_for_completion=False))
    polled = wait_for(request_id).poke(ti.context)
    assert isinstance(polled, PokeReturnValue)
    assert not polled.is_done


def test_the_deferral_holds_no_key(sandbox: Sandbox, ti: FakeTaskInstance, submitted: str) -> None:
    with pytest.raises(TaskDeferred) as deferral:
        wait_for(submitted, deferrable=True).execute(ti.context)
    assert sandbox.api_key not in str(deferral.value.trigger.serialize())
    assert sandbox.api_key not in repr(deferral.value.trigger)
