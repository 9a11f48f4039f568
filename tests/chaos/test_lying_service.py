"""Nothing is killed here but once: the service answers what is not so, a template renders to something else, a trigger
cannot start. What was paid for is waited for, and nothing is paid for again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .harness import Chaos
from .scoreboard import ROWS, Row

#: Put first on a triggerer's path, where Python runs it: an installation that lacks what a trigger needs.
WITHOUT_TRIGGERS = """
import sys

class WithoutTriggers:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("airflow_provider_kandinsky.triggers"):
            raise ImportError(f"this triggerer has no {name}")

sys.meta_path.insert(0, WithoutTriggers())
"""

NOT_FOUND = {"status": 404, "body": {"error": "Request not found"}}
#: The service's own words for a failed job are a 422 as well, but say FAILED.
UNPROCESSABLE = {"status": 422, "body": {"detail": "Unprocessable entity"}}
RATE_LIMITED = {"status": 429, "headers": {"retry-after": "1"}, "body": {"error": "Rate limit exceeded"}}


@contextmanager
def without_trigger(chaos: Chaos, folder: Path, dag_id: str) -> Iterator[str]:
    """A run whose task is deferred when a triggerer comes up that cannot start any trigger of ours.

    No earlier: a task that is back before the scheduler has heard of its deferral is failed now and then ("state
    mismatch"), and for the trigger of its next try SQLite has the same id, which that triggerer knows as failed.
    """
    (folder / "sitecustomize.py").write_text(WITHOUT_TRIGGERS)
    env = chaos.airflow.env
    path = env.get("PYTHONPATH")
    chaos.airflow.kill("triggerer")
    try:
        run_id = chaos.airflow.trigger_dag(dag_id)
        chaos.until(lambda: chaos.states(dag_id, run_id) == ["deferred"], "the deferral")
        chaos.until_workers_rest()
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), path]))
        chaos.airflow.start("triggerer")
        yield run_id
    finally:
        if path is None:
            env.pop("PYTHONPATH", None)
        else:
            env["PYTHONPATH"] = path
        chaos.airflow.kill("triggerer")
        chaos.airflow.start("triggerer")


def is_under_way(chaos: Chaos, dag_id: str, run_id: str) -> bool:
    return chaos.states(dag_id, run_id) not in (["success"], ["failed"])


@pytest.mark.parametrize("dag_id", ["random_batch", "random_batch_in_waves"])
def test_a_batch_that_renders_differently_in_each_process(chaos: Chaos, dag_id: str) -> None:
    items = 2
    chaos.sandbox.configure(latency=3)
    run_id = chaos.airflow.trigger_dag(dag_id)
    chaos.until(
        lambda: len(chaos.accepted()) > items or not is_under_way(chaos, dag_id, run_id), "the end of the batch"
    )
    accepted = chaos.accepted()
    ROWS.append(Row(f"rendered differently in each process ({dag_id})", 1, items, len(accepted), 0))
    assert len(accepted) <= items, [job["payload"]["prompt"] for job in accepted]
    logs = chaos.logs(dag_id, run_id)
    if dag_id == "random_batch_in_waves":
        # One is submitted; of the other nobody knows any more what was wanted.
        assert len(accepted) == 1
        assert chaos.states(dag_id, run_id) == ["failed"]
        assert "item" in chaos.airflow.xcom(dag_id, run_id, "paint", "error")["message"], logs
    # What was submitted is reported, whatever becomes of the run.
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/paint/xcomEntries"
    keys = [entry["key"] for entry in chaos.airflow.api("GET", path)["xcom_entries"]]
    reported = logs + "".join(str(chaos.airflow.xcom(dag_id, run_id, "paint", key)) for key in keys)
    assert [job["request_id"] for job in accepted if job["request_id"] not in reported] == []


def test_a_404_on_the_first_poll_of_a_retry(chaos: Chaos) -> None:
    """The job is seconds old, and under way in the request history as well."""
    chaos.sandbox.configure(latency=45)
    chaos.sandbox.fault("status", stall=60)
    run_id = chaos.airflow.trigger_dag("one_in_worker")
    chaos.until_fault_strikes()
    chaos.kill_worker()
    chaos.sandbox.fault("status", **NOT_FOUND)
    row = chaos.finish("a 404 on a retry's first poll", "one_in_worker", run_id)
    assert not chaos.sandbox.pending_faults
    assert (row.accepted, row.lost) == (1, 0)


def test_a_404_on_the_first_polls_of_a_batch_s_retry(chaos: Chaos) -> None:
    # The history is too late to replace the polls.
    chaos.sandbox.configure(latency=45, history_lag=600)
    chaos.sandbox.fault("status", stall=60)
    run_id = chaos.airflow.trigger_dag("batch_in_worker", {"items": 3})
    chaos.until_fault_strikes()
    chaos.kill_worker()
    chaos.sandbox.fault("status", times=3, **NOT_FOUND)
    chaos.finish_batch("a 404 on the first polls of a batch's retry", "batch_in_worker", run_id, items=3)
    assert not chaos.sandbox.pending_faults


@pytest.mark.parametrize("dag_id", ["one_in_worker", "one_deferred"])
def test_a_422_that_does_not_say_failed(chaos: Chaos, dag_id: str) -> None:
    chaos.sandbox.configure(latency=5)
    chaos.sandbox.fault("status", times=2, **UNPROCESSABLE)
    run_id = chaos.airflow.trigger_dag(dag_id)
    row = chaos.finish(f"422 without FAILED on a poll ({dag_id})", dag_id, run_id)
    assert not chaos.sandbox.pending_faults
    assert (row.accepted, row.lost) == (1, 0)
    (instance,) = chaos.airflow.task_instances(dag_id, run_id)
    assert instance["try_number"] == 1, "it is waited out"


def test_a_422_that_does_not_say_failed_for_a_batch(chaos: Chaos) -> None:
    chaos.sandbox.configure(latency=5, history_lag=600)
    chaos.sandbox.fault("status", times=3, **UNPROCESSABLE)
    run_id = chaos.airflow.trigger_dag("one_try_of_a_batch")
    chaos.finish_batch("422 without FAILED on the polls of a batch", "one_try_of_a_batch", run_id, items=3)


def test_the_last_poll_is_rate_limited(chaos: Chaos) -> None:
    """The jobs are finished before their deadline, but all polls are answered 429 until it is over."""
    pictures = 8
    chaos.sandbox.configure(latency=10)
    chaos.sandbox.fault("status", times=100_000, **RATE_LIMITED)
    chaos.sandbox.fault("history", times=100_000, **RATE_LIMITED)
    run_id = chaos.airflow.trigger_dag("many_impatient", {"pictures": pictures})
    chaos.until(lambda: len(chaos.sandbox.submissions) == pictures, "the submissions")
    time.sleep(45)  # what is tested is that it lasts longer than the tasks' timeout of 30 s
    chaos.sandbox.clear_faults()
    row = chaos.finish("the last poll is rate limited", "many_impatient", run_id)
    assert (row.tasks, row.accepted, row.lost) == (pictures, pictures, 0)


def test_polls_beside_submissions_on_a_small_plan(chaos: Chaos) -> None:
    """Submissions and polls share a plan of 60 calls a minute, here 20 in 20 s, which the workers alone would use up
    until long after the first jobs' deadlines."""
    pictures = 60
    chaos.sandbox.configure(latency=5, requests_per_minute=20, rate_window=20)
    run_id = chaos.airflow.trigger_dag("many_impatient", {"pictures": pictures})
    row = chaos.finish("polls beside submissions, 60 calls a minute", "many_impatient", run_id, timeout=580)
    assert (row.tasks, row.accepted, row.lost) == (pictures, pictures, 0)
    assert chaos.sandbox.count_calls("api", status=429) > 0


def test_a_trigger_that_cannot_start(chaos: Chaos, tmp_path: Path) -> None:
    chaos.sandbox.configure(latency=60)
    with without_trigger(chaos, tmp_path, "one_try") as run_id:
        row = chaos.finish("the trigger cannot start", "one_try", run_id)
    assert (row.accepted, row.lost) == (1, 0)


def test_a_batch_s_trigger_that_cannot_start(chaos: Chaos, tmp_path: Path) -> None:
    chaos.sandbox.configure(latency=60)
    with without_trigger(chaos, tmp_path, "one_try_of_a_batch") as run_id:
        chaos.finish_batch("a batch's trigger cannot start", "one_try_of_a_batch", run_id, items=3)
