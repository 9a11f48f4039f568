"""A hundred generations in a real Airflow: this package's operator beside the vendor's SDK and a plain operator.

``python -m benchmarks.airflow [ways …]`` prints a table and writes JSON. Each way runs in an Airflow of its own, all
with the same configuration, against the same jobs; the ratios mean something, the seconds are this machine's.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from benchmarks.table import publish
from demo.local_airflow import LocalAirflow

DAGS = Path(__file__).with_name("dags")
GENERATIONS = 100
#: Seconds that a job takes.
LATENCY = (2, 6)
#: The DAGs that are compared; the ratios are against the first.
WAYS = ("vendor_sdk", "plain_operator", "kandinsky")

#: The same for all ways. Airflow's supervisor misses the end of a task's process in a third of all cases, by chance,
#: and then holds the worker for this long (by default 5 s) for nothing: dice would drown what is measured.
CONFIGURATION = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1"}

# The supervisor in the worker, which starts a process for each stretch of a task, says how long it has lasted.
_STRETCH = re.compile(r"Workload finished .*\bduration=([\d.]+) .*\bworkload_id=(\S+)")


@dataclass(frozen=True)
class Timing:
    """What one run of a DAG took.

    :param seconds: from the run's start to its end.
    :param worker_seconds: of all stretches of all its tasks in a worker: from before the task's process is started
        until it has ended. A task that defers and resumes has two.
    :param worker_starts: how many stretches there were.
    :param submissions: jobs that the sandbox has accepted.
    :param polls: how often it was asked where they stand.
    :param states: how many task instances ended how.
    """

    seconds: float
    worker_seconds: float
    worker_starts: int
    submissions: int
    polls: int
    states: Mapping[str, int]


def time_run(
    dag_id: str, conf: dict[str, Any] | None = None, *, timeout: float = 400, **sandbox_settings: Any
) -> Timing:
    """Run a DAG of ``benchmarks/dags`` once, in a fresh Airflow against a fresh sandbox.

    :param conf: the run's configuration.
    :param timeout: seconds after which the run should have ended.
    :param sandbox_settings: see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.
    """
    with warm_airflow(CONFIGURATION, **{"latency": LATENCY} | sandbox_settings) as (airflow, sandbox):
        run_id = airflow.trigger_dag(dag_id, conf)
        airflow.wait_for_run(dag_id, run_id, timeout)
        run = airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        instances = airflow.task_instances(dag_id, run_id)
        # A supervisor writes its line a moment after the task has ended.
        airflow.stop()
        stretches = worker_stretches(airflow, instances)
        return Timing(
            seconds=(_moment(run["end_date"]) - _moment(run["start_date"])).total_seconds(),
            worker_seconds=sum(stretches),
            worker_starts=len(stretches),
            submissions=len(sandbox.submissions),
            polls=sandbox.count_calls("status"),
            states=Counter(each["state"] for each in instances),
        )


@contextmanager
def warm_airflow(configuration: Mapping[str, str], **sandbox_settings: Any) -> Iterator[tuple[LocalAirflow, Sandbox]]:
    """A fresh Airflow with the DAGs of ``benchmarks/dags``, whose ``kandinsky_default`` leads to a fresh sandbox.

    It has run a few tasks: what an Airflow builds up once in its life is no way's cost.

    :param configuration: further environment variables of all components.
    :param sandbox_settings: see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.
    """
    settings: dict[str, Any] = {"credits": 1_000_000} | sandbox_settings
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, running_sandbox(**settings) as sandbox:
        env = {
            "AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(),
            # For those who do without a connection.
            "SEGMIND_API_KEY": sandbox.api_key,
            "SEGMIND_URL": sandbox.url,
            # As after an installation: what is imported has been compiled.
            "PYTHONDONTWRITEBYTECODE": "",
            # The triggerer imports what the DAG files import.
            "PYTHONPATH": str(DAGS.parents[1]),
        }
        with LocalAirflow(Path(folder), dags_folder=DAGS, env=env | dict(configuration)) as airflow:
            airflow.wait_for_run("warm_up", airflow.trigger_dag("warm_up"))
            sandbox.reset()
            yield airflow, sandbox


def worker_stretches(airflow: LocalAirflow, instances: Iterable[Mapping[str, Any]]) -> list[float]:
    """Seconds of each stretch of some task instances in a worker; the executor's workers write to the scheduler's log.

    :param instances: as the REST API gives them.
    """
    ids = {each["id"] for each in instances}
    found = _STRETCH.findall(airflow.log_file("scheduler").read_text())
    return [float(seconds) for seconds, instance_id in found if instance_id in ids]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def row(timing: Timing, generations: int, base: Timing) -> dict[str, Any]:
    """A timing as a row of the table.

    :param base: what the ratios are against.
    """
    return {
        "seconds": round(timing.seconds, 1),
        "ratio": round(timing.seconds / base.seconds, 2),
        "worker-seconds each": round(timing.worker_seconds / generations, 2),
        "ratio of these": round(timing.worker_seconds / base.worker_seconds, 2),
        "worker starts": timing.worker_starts,
        "submissions": timing.submissions,
        "polls": timing.polls,
        "states": ", ".join(f"{count} {state}" for state, count in timing.states.items()),
    }


def main(ways: list[str]) -> None:
    """Time the ways, the first of which is what the others are compared with."""
    if unknown := set(ways) - set(WAYS):
        sys.exit(f"There is no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    timings = {way: time_run(way) for way in ways or WAYS}
    base = next(iter(timings.values()))
    publish("airflow", {way: row(timing, GENERATIONS, base) for way, timing in timings.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
