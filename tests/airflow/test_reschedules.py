"""A reschedule in a real Airflow is not a try, is bounded, and pays for nothing again."""

from __future__ import annotations

import sqlite3
import time

import pytest

from airflow_provider_kandinsky.compat.airflow import policies_can_reschedule
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.skipif(not policies_can_reschedule(), reason="this Airflow's retry policies cannot reschedule"),
]


def reschedules(airflow: LocalAirflow, run_id: str, task_id: str) -> int:
    query = """SELECT count(*) FROM task_reschedule JOIN task_instance ON task_instance.id = task_reschedule.ti_id
        WHERE task_instance.run_id = ? AND task_instance.task_id = ?"""
    with sqlite3.connect(airflow.home / "airflow.db") as database:
        (count,) = database.execute(query, (run_id, task_id)).fetchone()
    return count


def end(airflow: LocalAirflow, dag_id: str, run_id: str) -> tuple[str, int]:
    """How the only task of a run has ended, and in which try."""
    airflow.wait_for_run(dag_id, run_id)
    (instance,) = airflow.task_instances(dag_id, run_id)
    return instance["state"], instance["try_number"]


def test_a_rate_limit_costs_no_try(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    """The task has one try."""
    sandbox.fault("submit", status=429, headers={"retry-after": "300"}, times=2)
    run_id = airflow.trigger_dag("rescheduled")
    assert end(airflow, "rescheduled", run_id) == ("success", 1)
    assert reschedules(airflow, run_id, "single") == 2
    assert len(sandbox.submissions) == 1


def test_a_batch_goes_on_once_the_account_is_filled(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    sandbox.configure(credits=0.01, free_credits=0)
    run_id = airflow.trigger_dag("rescheduled_batch")
    deadline = time.monotonic() + 180
    while not reschedules(airflow, run_id, "batch"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(sandbox.submissions) == 1
    sandbox.configure(credits=1)
    assert end(airflow, "rescheduled_batch", run_id) == ("success", 1)
    assert [submitted["payload"]["prompt"] for submitted in sandbox.submissions] == ["c", "d"]


def test_credits_that_stay_used_up_end_the_task_at_the_bound(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    sandbox.configure(credits=0, free_credits=0)
    run_id = airflow.trigger_dag("rescheduled_in_vain")
    assert end(airflow, "rescheduled_in_vain", run_id) == ("failed", 1)
    assert reschedules(airflow, run_id, "credits") == 2
    log = airflow.task_log("rescheduled_in_vain", run_id, "credits")
    assert log.count("The retry policy reschedules the task; that uses up no retry") >= 2
    assert "No retry can cure this, so there is none" in log
    assert sandbox.submissions == []
