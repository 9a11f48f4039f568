"""Parts of Airflow die with many jobs in flight, and come back."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

import pytest

from .harness import DIES_OF_MISSING_HEARTBEATS, Chaos


def trigger_rows(chaos: Chaos) -> dict[str, Any]:
    """The stored triggers' kwargs, by request id; read from the database, where a dead triggerer has left them."""
    with sqlite3.connect(chaos.airflow.home / "airflow.db") as database:
        rows = [json.loads(kwargs) for (kwargs,) in database.execute("SELECT kwargs FROM trigger")]
    # Airflow 3.1 says of a value of what type it is.
    rows = [row.get("__var", row) for row in rows]
    return {row["request_id"]: row for row in rows}


def test_the_triggerer_with_fifty_jobs_in_flight(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=100)
    run_id = chaos.airflow.trigger_dag("many_deferred", {"pictures": 50})
    chaos.until(lambda: chaos.states("many_deferred", run_id).count("deferred") == 50, "50 deferrals", timeout=180)
    before = trigger_rows(chaos)

    chaos.airflow.kill("triggerer")
    assert trigger_rows(chaos) == before
    chaos.airflow.start("triggerer")
    sweeps = chaos.sandbox.count_calls("history")
    chaos.until(lambda: chaos.sandbox.count_calls("history") >= sweeps + 2, "the jobs to be waited for again")
    after = trigger_rows(chaos)

    assert len(before) == 50
    assert {key: after[key] for key in after} == {key: before[key] for key in after}, "a deadline has moved"
    row = chaos.finish("triggerer killed with 50 jobs in flight", "many_deferred", run_id)
    assert (row.tasks, row.accepted, row.lost) == (50, 50, 0)


def test_the_scheduler_in_mid_run(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=(5, 15))
    run_id = chaos.airflow.trigger_dag("many_deferred", {"pictures": 20})
    chaos.until(lambda: len(chaos.sandbox.submissions) >= 8, "8 submissions")

    chaos.airflow.kill("scheduler")
    chaos.airflow.start("scheduler")

    row = chaos.finish("scheduler killed in mid-run", "many_deferred", run_id)
    assert (row.tasks, row.accepted, row.lost) == (20, 20, 0)


@pytest.mark.skipif(DIES_OF_MISSING_HEARTBEATS, reason="this Airflow's scheduler would end itself")
def test_the_api_server_is_away_while_the_record_is_written(chaos: Chaos) -> None:
    chaos.sandbox.fault("submit", stall=6, after=True)
    run_id = chaos.airflow.trigger_dag("one_deferred")
    chaos.until(lambda: chaos.sandbox.submissions, "the POST to be accepted")

    chaos.airflow.kill("api-server")
    time.sleep(20)  # what is tested is how long it is away
    chaos.airflow.start("api-server")

    row = chaos.finish("API server away for 20 s at the record", "one_deferred", run_id)
    assert (row.accepted, row.lost) == (1, 0)


def test_a_rate_limit_that_outlasts_patience_holds_no_worker(chaos: Chaos) -> None:
    chaos.sandbox.fault("submit", status=429, headers={"retry-after": "25"})
    run_id = chaos.airflow.trigger_dag("one_deferred")
    chaos.until(lambda: chaos.states("one_deferred", run_id) == ["deferred"], "the deferral")
    assert chaos.sandbox.submissions == []

    row = chaos.finish("rate limited for longer than the client waits", "one_deferred", run_id)
    assert (row.accepted, row.lost) == (1, 0)
    (instance,) = chaos.airflow.task_instances("one_deferred", run_id)
    assert instance["try_number"] == 1


def test_a_storm_of_faults(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=(2, 6), fault_rate=0.3)
    run_id = chaos.airflow.trigger_dag("many_deferred", {"pictures": 100})
    row = chaos.finish("30 % of all answers wrong", "many_deferred", run_id, timeout=580)
    assert (row.tasks, row.accepted, row.lost) == (100, 100, 0)


def test_a_history_that_is_late_and_then_shut_off(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=(10, 20), history_lag=8)
    run_id = chaos.airflow.trigger_dag("many_deferred", {"pictures": 50})
    chaos.until(lambda: chaos.sandbox.count_calls("history") >= 5, "sweeps")
    chaos.sandbox.fault("history", times=100_000, status=403, body={"error": "not for this key"})
    row = chaos.finish("request history late, then shut off", "many_deferred", run_id, timeout=580)
    assert (row.tasks, row.accepted, row.lost) == (50, 50, 0)
    assert chaos.sandbox.count_calls("history", status=403) > 0
    assert chaos.sandbox.count_calls("status") > 0


def test_a_history_that_says_that_all_has_failed(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=(2, 6))
    run_id = chaos.airflow.trigger_dag("many_deferred", {"pictures": 20})
    chaos.until(lambda: chaos.sandbox.submissions, "a submission")
    lies = {job["request_id"]: {"model_status": "FAILED"} for job in chaos.sandbox.submissions}
    chaos.sandbox.fault("history", times=100_000, rows=lies)
    row = chaos.finish("request history lies about jobs", "many_deferred", run_id)
    assert (row.tasks, row.accepted, row.lost) == (20, 20, 0)
