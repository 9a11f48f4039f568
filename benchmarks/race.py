"""How long a quick job's event has to be held back so that Airflow does not take the deferral for the task's end.

``python -m benchmarks.race [cases …]`` runs twenty jobs of 1 to 4 s ten times over and counts the tasks that Airflow
has failed although nothing was wrong. A case is ``HOLD_BACK/HEARTBEAT``: the seconds from a trigger's start to its
event, at the earliest, and Airflow's ``[workers] min_heartbeat_interval``, for which its supervisor may sleep after a
task's process has ended, so that the scheduler hears of the deferral that much later. ``triggerer/HEARTBEAT`` ends
the tasks in the triggerer instead.
"""

from __future__ import annotations

import statistics
import sys
from datetime import datetime
from typing import Any

from benchmarks.airflow import warm_airflow, worker_stretches
from benchmarks.table import publish

RUNS = 10
CASES = ("0/5", "5/5", "0/1", "1/1", "triggerer/5")


def race(case: str) -> dict[str, Any]:
    """Run one case and count."""
    hold_back, _, heartbeat = case.partition("/")
    dag_id = "race_in_triggerer" if hold_back == "triggerer" else "race_in_worker"
    configuration = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": heartbeat}
    if dag_id == "race_in_worker":
        configuration["HOLD_BACK"] = hold_back
    with warm_airflow(configuration, latency=(1, 4)) as (airflow, sandbox):
        run_ids = []
        for _ in range(RUNS):
            run_ids.append(airflow.trigger_dag(dag_id))
            airflow.wait_for_run(dag_id, run_ids[-1])
        runs = [airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}") for run_id in run_ids]
        instances = [each for run_id in run_ids for each in airflow.task_instances(dag_id, run_id)]
        mismatches = airflow.api("GET", "/eventLogs", params={"event": "state mismatch"})["total_entries"]
        airflow.stop()
        return {
            "failed runs": sum(run["state"] != "success" for run in runs),
            "failed tasks": sum(each["state"] != "success" for each in instances),
            "state mismatches": mismatches,
            "submissions": len(sandbox.submissions),
            "median seconds of a run": round(statistics.median(map(_seconds, runs)), 1),
            "worker-seconds each": round(sum(worker_stretches(airflow, instances)) / len(instances), 2),
        }


def _seconds(run: dict[str, Any]) -> float:
    return (datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["start_date"])).total_seconds()


def main(cases: list[str]) -> None:
    """Run the cases, print a table and write it as JSON."""
    publish("race", {case: race(case) for case in cases or CASES})


if __name__ == "__main__":
    main(sys.argv[1:])
