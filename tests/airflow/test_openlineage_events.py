"""What arrives at OpenLineage, written by its own provider, from tasks of every kind in a real Airflow."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("second airflow")]

DAGS = Path(__file__).with_name("lineage_dags")
TASKS = {"blocking", "deferred", "blocked", "submit", "wait", "batch"}
KEY = "SG_that_must_not_be_told_to_anyone"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openlineage") / "events.jsonl"


@pytest.fixture(scope="module")
def listening_airflow(
    _sandbox: Sandbox, output_folder: Path, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """An Airflow of its own: where a listener is, no task ends in the triggerer."""
    home = tmp_path_factory.mktemp("listening")
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    connection = json.loads(_sandbox.connection()) | {"password": KEY}
    env = {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": json.dumps(connection),
        "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
    }
    with LocalAirflow(home, env=env) as airflow:
        yield airflow


def ends_of_tasks(events: Path) -> dict[str, Any]:
    """The event of each task's end, by the task's id."""
    ends: dict[str, Any] = {}
    lines = events.read_text(encoding="utf-8").splitlines(keepends=True) if events.exists() else []
    for event in (json.loads(line) for line in lines if line.endswith("\n")):
        task_id = event["job"]["name"].partition(".")[2]
        if task_id and event["eventType"] in ("COMPLETE", "FAIL"):
            assert task_id not in ends, "reported twice"
            ends[task_id] = event
    return ends


def test_openlineage_hears_of_requests_costs_and_pictures(
    listening_airflow: LocalAirflow, sandbox: Sandbox, events: Path
) -> None:
    sandbox.configure(api_keys=[KEY])
    run_id = listening_airflow.trigger_dag("heard_of")
    assert listening_airflow.wait_for_run("heard_of", run_id) == "failed"

    # The events of the last tasks are written by processes that may outlive the run.
    deadline = time.monotonic() + 180
    while (reported := ends_of_tasks(events)).keys() != TASKS and time.monotonic() < deadline:
        time.sleep(0.2)
    assert reported.keys() == TASKS
    written = events.read_text(encoding="utf-8")
    assert KEY not in written
    assert "secret campaign" not in written
    assert [task_id for task_id, event in reported.items() if event["eventType"] == "FAIL"] == ["blocked"]

    for task_id in ("blocking", "deferred", "wait"):
        generation = listening_airflow.xcom("heard_of", run_id, task_id, "generation")
        facet = reported[task_id]["run"]["facets"]["kandinsky"]
        assert facet["generations"] == [{name: generation[name] for name in ("request_id", "seed", "cost")}]
        assert facet["cost"] == 0.01
        assert outputs(reported[task_id]) == listening_airflow.xcom("heard_of", run_id, task_id)
    rows = listening_airflow.xcom("heard_of", run_id, "batch")
    facet = reported["batch"]["run"]["facets"]["kandinsky"]
    assert [each["request_id"] for each in facet["generations"]] == [row["request_id"] for row in rows]
    assert (facet["model"], facet["cost"]) == ("kandinsky2.1-txt2im", 0.02)
    assert outputs(reported["batch"]) == [row["urls"][0] for row in rows]
    for task_id in ("submit", "blocked"):
        request_id = listening_airflow.xcom("heard_of", run_id, task_id, "request_id")
        assert reported[task_id]["run"]["facets"]["kandinsky"]["generations"] == [{"request_id": request_id}]
        assert outputs(reported[task_id]) == []


def outputs(event: dict[str, Any]) -> list[str]:
    """The output datasets, as the URIs that they are named after."""
    return [
        f"file://{each['name']}" if each["namespace"] == "file" else f"{each['namespace']}/{each['name']}"
        for each in event["outputs"]
    ]
