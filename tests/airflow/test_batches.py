"""Batches and asset events in a real Airflow."""

from __future__ import annotations

import re
import time

import psutil
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.airflow_rest import FINISHED_RUN_STATES
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]


def test_a_thousand_items(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    _, peaks_of_one = run_batch(airflow, items=1)
    sandbox.reset()
    sandbox.configure(latency=(2, 6), expiry=20, credits=1000)
    run_id, peaks = run_batch(airflow, items=1000)

    rows = airflow.xcom("one_batch", run_id, "paint")
    prompts = {job["request_id"]: job["payload"]["prompt"] for job in sandbox.submissions}
    assert [prompts[row["request_id"]] for row in rows] == [f"cat {number}" for number in range(1000)]
    assert len(prompts) == sandbox.count_calls("submit") == 1000
    log = airflow.task_log("one_batch", run_id, "paint")
    assert log.count("200 jobs are in flight") == 5, "as few hand-overs as there would be waves"
    assert sum(map(int, re.findall(r"(\d+) jobs are over", log))) == 1000
    for component, peak in peaks.items():
        assert peak - peaks_of_one[component] < 50 * 2**20, component


def run_batch(airflow: LocalAirflow, items: int) -> tuple[str, dict[str, int]]:
    """Run a batch, and say how large the largest process of each component has become; tasks run below the
    scheduler."""
    run_id = airflow.trigger_dag("one_batch", {"items": items})
    peaks: dict[str, int] = {"scheduler": 0, "triggerer": 0}
    while (state := airflow.api("GET", f"/dags/one_batch/dagRuns/{run_id}")["state"]) not in FINISHED_RUN_STATES:
        for component in peaks:
            peaks[component] = max(peaks[component], *map(memory, airflow.pids(component)))
        time.sleep(0.1)
    assert state == "success", airflow.task_log("one_batch", run_id, "paint")
    return run_id, peaks


def memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def test_asset_events_tell_what_was_made(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("pictures_as_assets")
    assert airflow.wait_for_run("pictures_as_assets", run_id) == "success"

    events = airflow.api(
        "GET", "/assets/events", params={"source_dag_id": "pictures_as_assets", "source_run_id": run_id}
    )
    extras = {event["source_task_id"]: event["extra"] for event in events["asset_events"]}
    assert set(extras) == {"batch", "deferred", "in_worker", "wait"}
    for task_id in ("deferred", "in_worker", "wait"):
        assert extras[task_id] == {
            "request_ids": [airflow.xcom("pictures_as_assets", run_id, task_id, "generation")["request_id"]],
            "uris": airflow.xcom("pictures_as_assets", run_id, task_id),
            "cost": 0.01,
        }
    rows = airflow.xcom("pictures_as_assets", run_id, "batch")
    assert extras["batch"]["request_ids"] == [row["request_id"] for row in rows]
    assert extras["batch"]["uris"] == [row["urls"][0] for row in rows]
    assert extras["batch"]["cost"] == 0.02
