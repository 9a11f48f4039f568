"""A DAG with ``reuse=True``, run twice in a real Airflow: the second run submits nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

DAG = "wanted_every_day"
SINGLE = [("mapped", 0), ("mapped", 1), ("in_worker", -1)]


def test_the_second_run_submits_nothing(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    runs = []
    for _ in range(2):
        runs.append(airflow.trigger_dag(DAG))
        assert airflow.wait_for_run(DAG, runs[-1], timeout=180) == "success"
        assert sandbox.count_calls("submit") == len(sandbox.submissions) == 5
    first, second = runs

    for task_id, map_index in SINGLE:
        uris = airflow.xcom(DAG, second, task_id, map_index=map_index)
        assert uris == airflow.xcom(DAG, first, task_id, map_index=map_index)
        assert all(Path(uri.removeprefix("file://")).is_file() for uri in uris)
        before, now = (airflow.xcom(DAG, run, task_id, "generation", map_index=map_index) for run in runs)
        assert (now["reused"], now["cost"], now["locations"]) == (True, 0, uris)
        assert "reused" not in before
        assert (now["request_id"], now["seed"]) == (before["request_id"], before["seed"])
        assert f"Reused request {now['request_id']}" in airflow.task_log(DAG, second, task_id, map_index=map_index)

    rows_before, rows = (airflow.xcom(DAG, run, "batch") for run in runs)
    assert [(row["key"], row["reused"], row["cost"]) for row in rows] == [("a", True, 0), ("b", True, 0)]
    assert [row["urls"] for row in rows] == [row["urls"] for row in rows_before]
    counts = {"items": 2, "succeeded": 2, "failed": 0, "reused": 2, "cost": 0}
    assert airflow.xcom(DAG, second, "batch", "counts") == counts
    events = airflow.api("GET", "/assets/events", params={"source_dag_id": DAG, "source_run_id": second})
    (event,) = events["asset_events"]
    assert event["extra"]["counts"] == counts

    if not supports_plugin_tabs():
        return  # there is no gallery
    with httpx.Client(base_url=airflow.base_url, timeout=30, trust_env=False) as visitor:
        visitor.cookies["_token"] = visitor.get("/auth/token").raise_for_status().json()["access_token"]
        for run_id, reused in ((first, 0), (second, 2)):
            page = visitor.get(f"/kandinsky-gallery/dags/{DAG}/runs/{run_id}/tasks/batch/-1").raise_for_status().text
            assert page.count(">reused<") == reused
