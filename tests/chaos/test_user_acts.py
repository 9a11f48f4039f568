"""What a user's click does to the money: the table in docs/money.md."""

from __future__ import annotations

import pytest

from .harness import Chaos


def deferred(chaos: Chaos, dag_id: str) -> str:
    """A run whose task waits in the triggerer for a job of some seconds."""
    chaos.sandbox.configure(latency=15)
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until(lambda: chaos.states(dag_id, run_id) == ["deferred"], "the deferral")
    chaos.until_workers_rest()
    return run_id


def succeeded(chaos: Chaos, dag_id: str) -> str:
    run_id = chaos.airflow.trigger_dag(dag_id)
    assert chaos.airflow.wait_for_run(dag_id, run_id) == "success"
    chaos.until_workers_rest()
    return run_id


@pytest.mark.parametrize(("dag_id", "pictures"), [("one_deferred", 1), ("one_deferred_random", 2)])
def test_clear_while_deferred(chaos: Chaos, dag_id: str, pictures: int) -> None:
    run_id = deferred(chaos, dag_id)
    chaos.airflow.clear(dag_id, run_id, ["paint"])
    row = chaos.finish(f"cleared while deferred ({dag_id})", dag_id, run_id)
    assert (row.accepted, row.lost) == (pictures, 0)


@pytest.mark.parametrize(("dag_id", "pictures"), [("one_deferred", 1), ("one_deferred_random", 2)])
def test_clear_after_success(chaos: Chaos, dag_id: str, pictures: int) -> None:
    run_id = succeeded(chaos, dag_id)
    first = chaos.airflow.xcom(dag_id, run_id, "paint")
    chaos.airflow.clear(dag_id, run_id, ["paint"])
    row = chaos.finish(f"cleared after success ({dag_id})", dag_id, run_id)
    assert (row.accepted, row.lost) == (pictures, 0)
    assert (chaos.airflow.xcom(dag_id, run_id, "paint") == first) == (pictures == 1)


def test_mark_failed_while_deferred_and_clear_then(chaos: Chaos) -> None:
    run_id = deferred(chaos, "one_deferred")
    chaos.airflow.set_task_state("one_deferred", run_id, "paint", "failed")
    assert chaos.airflow.wait_for_run("one_deferred", run_id) == "failed"
    (submission,) = chaos.sandbox.submissions

    chaos.airflow.clear("one_deferred", run_id, ["paint"])
    row = chaos.finish("marked failed while deferred, then cleared", "one_deferred", run_id)
    assert (row.accepted, row.lost) == (1, 0)
    assert chaos.airflow.xcom("one_deferred", run_id, "paint", "request_id") == submission["request_id"]


def test_mark_success_while_deferred(chaos: Chaos) -> None:
    run_id = deferred(chaos, "one_deferred")
    chaos.airflow.set_task_state("one_deferred", run_id, "paint", "success")
    assert chaos.airflow.wait_for_run("one_deferred", run_id) == "success"
    assert len(chaos.sandbox.submissions) == 1
    # Its picture is not waited for any more; the id is there for whoever wants it.
    (submission,) = chaos.sandbox.submissions
    assert chaos.airflow.xcom("one_deferred", run_id, "paint", "request_id") == submission["request_id"]
