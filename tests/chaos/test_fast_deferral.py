"""A job may be finished before the scheduler has heard that its task was deferred.

It then takes the end of the process that deferred for the end of the task, and fails it ("state mismatch"). How often
that happens without a hold-back is measured by ``python -m benchmarks.race``.
"""

from __future__ import annotations

import pytest

from ..support.task_ends import ended_in_triggerer
from .harness import Chaos

RUNS = 10
PICTURES = 20


@pytest.mark.parametrize(
    ("dag_id", "end"), [("many_deferred", "ended in the triggerer"), ("many_resumed", "resumed in a worker")]
)
def test_quick_jobs_are_not_taken_for_failures(chaos: Chaos, dag_id: str, end: str) -> None:
    chaos.sandbox.configure(latency=(1, 4))
    run_ids = []
    for _ in range(RUNS):
        run_ids.append(chaos.airflow.trigger_dag(dag_id, {"pictures": PICTURES}))
        chaos.airflow.wait_for_run(dag_id, run_ids[-1])

    row = chaos.finish(f"quick jobs, {end}", dag_id, *run_ids)

    assert (row.tasks, row.accepted, row.lost) == (RUNS * PICTURES, RUNS * PICTURES, 0)
    tries = [each["try_number"] for run_id in run_ids for each in chaos.airflow.task_instances(dag_id, run_id)]
    assert tries == [1] * RUNS * (PICTURES + 1)
    mismatches = chaos.airflow.api("GET", "/eventLogs", params={"event": "state mismatch", "dag_id": dag_id})
    assert mismatches["event_logs"] == []
    # What proves that it was the way it is meant to be: only the one has been ended by its trigger.
    log = chaos.airflow.task_log(dag_id, run_ids[0], "paint", map_index=0)
    assert ended_in_triggerer(log) == (dag_id == "many_deferred")
