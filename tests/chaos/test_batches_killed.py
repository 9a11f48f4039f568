"""Batches of which parts of Airflow die: every item is finished by the retry, and submitted once."""

from __future__ import annotations

import pytest

from .harness import Chaos

both_ways = pytest.mark.parametrize("dag_id", ["batch_in_worker", "batch_deferred"])


def submissions(chaos: Chaos) -> int:
    return chaos.sandbox.count_calls("submit")


@both_ways
@pytest.mark.parametrize("accepted", [20, 70], ids=["first wave", "second wave"])
def test_the_worker_between_the_posts_and_the_record(chaos: Chaos, dag_id: str, accepted: int) -> None:
    """Of a group of 20, 19 answers are in and one is held back."""
    chaos.sandbox.configure(latency=3)
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until(lambda: submissions(chaos) >= accepted - 20, "the submissions before")
    chaos.sandbox.fault("submit", stall=60, after=True)
    chaos.until_fault_strikes()
    chaos.kill_worker()
    chaos.finish_batch(f"worker killed among the POSTs of a batch ({dag_id})", dag_id, run_id)


def test_the_worker_while_a_batch_is_waited_for(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=20)
    run_id = chaos.airflow.trigger_dag("batch_in_worker")
    chaos.until(lambda: chaos.sandbox.count_calls("history") >= 3, "sweeps")
    chaos.kill_worker()
    chaos.finish_batch("worker killed while it watches a batch", "batch_in_worker", run_id)


@pytest.mark.parametrize("waves", [1, 2])
def test_the_triggerer_while_it_waits_for_a_batch(chaos: Chaos, waves: int) -> None:
    chaos.sandbox.configure(latency=20)
    run_id = chaos.airflow.trigger_dag("batch_deferred")
    chaos.until(lambda: len(chaos.sandbox.submissions) == 50 * waves, "the wave to be submitted", timeout=180)
    sweeps = chaos.sandbox.count_calls("history")
    chaos.until(lambda: chaos.sandbox.count_calls("history") >= sweeps + 2, "sweeps")
    chaos.airflow.kill("triggerer")
    chaos.airflow.start("triggerer")
    chaos.finish_batch(f"triggerer killed in wave {waves} of a batch", "batch_deferred", run_id)


def test_a_batch_that_is_cleared_while_deferred(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=15)
    run_id = chaos.airflow.trigger_dag("batch_deferred")
    chaos.until(lambda: chaos.states("batch_deferred", run_id) == ["deferred"], "the deferral")
    chaos.until_workers_rest()
    chaos.airflow.clear("batch_deferred", run_id, ["paint"])
    chaos.finish_batch("batch cleared while deferred", "batch_deferred", run_id)


def test_a_storm_of_faults(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=(2, 6), fault_rate=0.1)
    run_id = chaos.airflow.trigger_dag("batch_deferred")
    chaos.finish_batch("10 % of all answers wrong, for a batch", "batch_deferred", run_id)
