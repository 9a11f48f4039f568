"""How soon two hundred jobs that end at the same moment are delivered: each takes the triggerer two XComs to write.

``python -m benchmarks.ends`` prints a table and writes JSON; the Airflow is set up as in :mod:`benchmarks.airflow`.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime

from benchmarks.airflow import CONFIGURATIONS, warm_airflow
from benchmarks.table import publish

JOBS = 200


def main() -> None:
    """Hold all jobs until the last one is waited for, let them end, and note when each task has ended."""
    # Until they may end, neither a poll nor the request history knows of a finished job.
    with warm_airflow(CONFIGURATIONS["airflow"], latency=0, history_lag=3600) as (airflow, sandbox):
        sandbox.fault("status", times=1_000_000, body={"status": "PROCESSING"})
        run_id = airflow.trigger_dag("ends")
        while sum(each["state"] == "deferred" for each in airflow.task_instances("ends", run_id)) < JOBS:
            time.sleep(2)
        sandbox.configure(history_lag=0)
        sandbox.clear_faults()
        ended_at = time.time()
        state = airflow.wait_for_run("ends", run_id, timeout=300)
        instances = airflow.task_instances("ends", run_id)
        submissions = len(sandbox.submissions)
    seconds = sorted(datetime.fromisoformat(each["end_date"]).timestamp() - ended_at for each in instances)
    row = {
        "first, s": round(seconds[0], 1),
        "half within, s": round(statistics.median(seconds), 1),
        "last, s": round(seconds[-1], 1),
        "submissions": submissions,
        "state of the run": state,
    }
    publish("ends", {f"{JOBS} jobs that end at once": row})


if __name__ == "__main__":
    main()
