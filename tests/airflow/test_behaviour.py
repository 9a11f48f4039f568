"""What can only be seen in a real Airflow."""

from __future__ import annotations

import json
import sqlite3

import pytest
from airflow.sdk import Context

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

KEY = "SG_that_must_not_be_written_anywhere"


def test_a_downstream_task_expands_over_the_urls(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("expand_over_urls")
    assert airflow.wait_for_run("expand_over_urls", run_id) == "success"
    assert [airflow.xcom("expand_over_urls", run_id, "last_part", map_index=index) for index in range(3)] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    (submitted,) = sandbox.submissions
    assert submitted["payload"]["prompt"] == f"expand_over_urls {run_id}"


def test_a_retry_buys_again_only_where_no_record_can_be_kept(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    is_kept = "task_state_store" in Context.__annotations__
    run_id = airflow.trigger_dag("gives_up_too_early")
    assert airflow.wait_for_run("gives_up_too_early", run_id) == ("success" if is_kept else "failed")
    assert len(sandbox.submissions) == (1 if is_kept else 2)
    for try_number in (1, 2):
        log = airflow.task_log("gives_up_too_early", run_id, "paint", try_number=try_number)
        assert log.count("This Airflow has no task state store") == (0 if is_kept else 1)


def test_what_no_retry_can_cure_is_not_retried(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("final_failures")
    assert airflow.wait_for_run("final_failures", run_id) == "failed"
    tries = {
        each["task_id"]: (each["state"], each["try_number"])
        for each in airflow.task_instances("final_failures", run_id)
    }
    assert tries == dict.fromkeys(("bad_parameter", "mapped", "blocked", "no_such_model"), ("failed", 1))
    assert [submitted["payload"]["prompt"] for submitted in sandbox.submissions] == ["[blocked]"]


def test_the_key_is_written_nowhere(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    sandbox.configure(api_keys=[KEY])
    airflow.create_connection(
        "kandinsky_secret",
        "kandinsky",
        host=sandbox.url,
        password=KEY,
        extra=json.dumps({"history_url": sandbox.history_url}),
    )
    run_id = airflow.trigger_dag("every_way_to_leak_a_key")
    assert airflow.wait_for_run("every_way_to_leak_a_key", run_id) == "failed"
    states = {each["task_id"]: each["state"] for each in airflow.task_instances("every_way_to_leak_a_key", run_id)}
    assert states == {
        "deferred": "success",
        "in_worker": "success",
        "submit": "success",
        "wait": "success",
        "blocked": "failed",
        "echoed": "failed",
    }

    key = KEY.encode()
    logs = [path for path in airflow.home.rglob("*.log") if path.is_file()]
    assert any(b"every_way_to_leak_a_key" in path.read_bytes() for path in logs), "the logs were looked for in vain"
    assert [path.name for path in logs if key in path.read_bytes()] == []
    assert [table for table, content in every_row(airflow) if KEY in content] == []
    rest = [
        json.dumps(airflow.api("GET", path))
        for path in ("/connections/kandinsky_secret", f"/dags/every_way_to_leak_a_key/dagRuns/{run_id}/taskInstances")
    ]
    assert not any(KEY in answer for answer in rest)


def every_row(airflow: LocalAirflow) -> list[tuple[str, str]]:
    """The whole metadata database, as text: XComs, triggers, rendered fields, events and all."""
    with sqlite3.connect(airflow.home / "airflow.db") as database:
        database.text_factory = lambda raw: raw.decode(errors="replace")
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, repr(row)) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
