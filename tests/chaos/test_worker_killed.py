"""The worker is killed at every moment at which something is known to it alone."""

from __future__ import annotations

import pytest

from .harness import Chaos

both_ways = pytest.mark.parametrize("dag_id", ["one_in_worker", "one_deferred"])


@both_ways
def test_before_the_post(chaos: Chaos, dag_id: str) -> None:
    chaos.sandbox.fault("submit", stall=60)
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until_fault_strikes()
    chaos.kill_worker()
    assert chaos.finish(f"worker killed before the POST ({dag_id})", dag_id, run_id).accepted == 1


@both_ways
def test_between_the_post_and_the_record(chaos: Chaos, dag_id: str) -> None:
    chaos.sandbox.fault("submit", stall=60, after=True)
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until(lambda: chaos.sandbox.submissions, "the POST to be accepted")
    chaos.kill_worker()
    assert chaos.finish(f"worker killed between POST and record ({dag_id})", dag_id, run_id).accepted == 1


def test_after_the_record(chaos: Chaos) -> None:
    chaos.sandbox.fault("status", stall=60)
    run_id = chaos.airflow.trigger_dag("one_in_worker")
    chaos.until_fault_strikes()
    chaos.kill_worker()
    assert chaos.finish("worker killed after the record", "one_in_worker", run_id).accepted == 1


def test_while_polling(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=15)
    run_id = chaos.airflow.trigger_dag("one_in_worker")
    chaos.until(lambda: chaos.sandbox.count_calls("status") >= 3, "three polls at the job")
    chaos.kill_worker()
    assert chaos.finish("worker killed while polling", "one_in_worker", run_id).accepted == 1


@both_ways
def test_during_the_delivery(chaos: Chaos, dag_id: str) -> None:
    chaos.hold.touch()
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until(lambda: chaos.is_delivering(dag_id, run_id), "the result to be delivered")
    chaos.kill_worker()
    chaos.hold.unlink()
    assert chaos.finish(f"worker killed during the delivery ({dag_id})", dag_id, run_id).accepted == 1
