"""A task that ends in the triggerer leaves behind just what it leaves behind when it ends in a worker."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_kandinsky.compat.airflow import triggers_can_set_mapped_length, triggers_can_set_xcom
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support.statsd_server import StatsdSocket
from ..support.task_ends import ended_in_triggerer

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

WAYS = ("ends_in_triggerer", "resumes_in_worker")


def xcoms(airflow: LocalAirflow, dag_id: str, run_id: str, instance: dict[str, Any]) -> dict[str, Any]:
    """All XComs of a task instance, with what differs between any two jobs made equal."""
    task_id, map_index = instance["task_id"], instance["map_index"]
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
    entries = airflow.api("GET", path, params={"map_index": map_index})["xcom_entries"]
    values = {entry["key"]: airflow.xcom(dag_id, run_id, task_id, entry["key"], map_index) for entry in entries}
    request_id = values.get("request_id") or values.get("generation", {}).get("request_id")
    # The link is made of the run's name.
    names = {str(request_id): "(request id)", f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/": "/(run)/"}
    same = {key: repr(value) for key, value in values.items()}
    for name, stand_in in names.items():
        same = {key: reported.replace(name, stand_in) for key, reported in same.items()}
    # From Airflow 3.4 on the link of a mapped instance names its region, of which each run has its own.
    same = {key: re.sub(r"region=[0-9a-f-]{36}", "region=(region)", reported) for key, reported in same.items()}
    if "generation" in values:
        reported = {"request_id", "inference_time", "queue_time"}
        same["generation"] = {key: value for key, value in values["generation"].items() if key not in reported}
    return same


#: What nine jobs come to, one of which gives three pictures.
COUNTED = {"kandinsky.submitted": 9, "kandinsky.completed": 9, "kandinsky.cost": 0.11}
#: As many as the sweeps over the history leave: a row has no timings, and saves the polls.
UNCOUNTED = ("kandinsky.polls", "kandinsky.inference_time", "kandinsky.queue_time")


def counted(statsd: StatsdSocket) -> dict[str, dict[str, float]]:
    """What StatsD was sent, summed up by DAG: of the timings, how many. Some Airflows send their own, too."""
    sums: dict[str, Counter[str]] = {dag_id: Counter() for dag_id in WAYS}
    for each in (each for each in statsd.received() if each.name.startswith("kandinsky.")):
        sums[each.tags["dag_id"]][each.name] += each.value if each.kind == "c" else 1  # type: ignore[assignment]
    return {dag_id: {name: round(value, 6) for name, value in sum_.items()} for dag_id, sum_ in sums.items()}


def test_both_ways_are_one(airflow: LocalAirflow, sandbox: Sandbox, statsd: StatsdSocket) -> None:
    statsd.received()  # of tests before this one
    runs = {dag_id: airflow.trigger_dag(dag_id) for dag_id in WAYS}
    states = {dag_id: airflow.wait_for_run(dag_id, run_id, timeout=240) for dag_id, run_id in runs.items()}
    assert states == dict.fromkeys(WAYS, "success")

    for sums in counted(statsd).values():
        assert {name: value for name, value in sums.items() if name not in UNCOUNTED} == COUNTED

    left = {
        dag_id: {
            (each["task_id"], each["map_index"]): (each["state"], xcoms(airflow, dag_id, run_id, each))
            for each in airflow.task_instances(dag_id, run_id)
        }
        for dag_id, run_id in runs.items()
    }
    assert left["ends_in_triggerer"] == left["resumes_in_worker"]
    assert "return_value" not in left["ends_in_triggerer"]["not_pushed", -1][1]
    assert [left["ends_in_triggerer"]["expand_over", index][0] for index in range(3)] == ["success"] * 3

    # What proves that they were two ways: only the one has been ended by its trigger, where triggers can do that.
    can_expand = triggers_can_set_mapped_length()
    for task_id, can_end_there in (("plain", triggers_can_set_xcom()), ("expanded_over", can_expand)):
        logs = {dag_id: airflow.task_log(dag_id, run_id, task_id) for dag_id, run_id in runs.items()}
        assert [ended_in_triggerer(logs[dag_id]) for dag_id in WAYS] == [can_end_there, False]
        # A way that is not open was not tried.
        assert not any("Traceback" in log or "Could not write the XComs" in log for log in logs.values())
