"""A hundred generations in a real Airflow: this package's operator beside the vendor's SDK and a plain operator.

``python -m benchmarks.airflow [ways …]`` prints tables and writes JSON: times, calls to the API server, and CPU by
component, with Airflow's default configuration, then the times with a short ``[workers] min_heartbeat_interval``. Each
way runs in an Airflow of its own, all with the same configuration, against the same jobs; the ratios mean something,
the seconds are this machine's. With the default configuration the ways take turns, three times: the times are those of
the run whose time is the median, and the calls and CPU those of the run whose CPU is.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from benchmarks.cpu import cpu_seconds, difference
from benchmarks.table import publish
from demo.api_calls import count_api_calls
from demo.local_airflow import LocalAirflow

DAGS = Path(__file__).with_name("dags")
GENERATIONS = 100
#: How often each way runs. A machine that others share gives the same work up to twice the CPU seconds.
ROUNDS = {"airflow": 3, "airflow_short_heartbeat": 1}
#: Seconds that a job takes.
LATENCY = (2, 6)
#: The DAGs that are compared, and what they are called; the ratios are against the first.
WAYS = {
    "vendor_sdk": "the vendor's SDK in a mapped `@task`",
    "plain_operator": "a plain operator that defers and resumes",
    "kandinsky": "this operator, mapped, ending in the triggerer",
}

#: What :class:`~demo.local_airflow.LocalAirflow` sets for the tests' sake, as Airflow has it by default.
DEFAULTS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
}
#: By the name of the table. Airflow's supervisor misses the end of a task's process in a third of all cases, by chance,
#: and then holds the worker for ``min_heartbeat_interval`` for nothing: with 1 s there is less of that chance in it.
CONFIGURATIONS: dict[str, Mapping[str, str]] = {
    "airflow": DEFAULTS,
    "airflow_short_heartbeat": DEFAULTS | {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1"},
}
#: What the calls are rows of; the others are :data:`OTHER_CALLS`.
CALLS = {
    "run, state": ("PATCH run", "PATCH state"),
    "rendered fields": ("PUT rtif",),
    "task state store": ("GET store kandinsky_job", "PUT store kandinsky_job"),
    "XComs written": ("POST xcom return_value", "POST xcom request_id", "POST xcom _link_KandinskyImageLink"),
    "heartbeats": ("PUT heartbeat",),
}
OTHER_CALLS = "others"

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
    :param calls: how often workers have called the API server; see :func:`~demo.api_calls.count_api_calls`.
    :param cpu: CPU seconds by component; see :func:`~benchmarks.cpu.cpu_seconds`.
    """

    seconds: float
    worker_seconds: float
    worker_starts: int
    submissions: int
    polls: int
    states: Mapping[str, int]
    calls: Mapping[str, int]
    cpu: Mapping[str, float]


def time_run(
    dag_id: str,
    conf: dict[str, Any] | None = None,
    *,
    configuration: Mapping[str, str],
    timeout: float = 400,
    **sandbox_settings: Any,
) -> Timing:
    """Run a DAG of ``benchmarks/dags`` once, in a fresh Airflow against a fresh sandbox.

    :param conf: the run's configuration.
    :param configuration: Airflow's, see :data:`CONFIGURATIONS`.
    :param timeout: seconds after which the run should have ended.
    :param sandbox_settings: see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.
    """
    with warm_airflow(configuration, **{"latency": LATENCY} | sandbox_settings) as (airflow, sandbox):
        before, calls_before = cpu_seconds(airflow), _api_calls(airflow)
        run_id = airflow.trigger_dag(dag_id, conf)
        airflow.wait_for_run(dag_id, run_id, timeout)
        cpu = difference(before, cpu_seconds(airflow))
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
            calls=_api_calls(airflow) - calls_before,
            cpu=cpu,
        )


def _api_calls(airflow: LocalAirflow) -> Counter[str]:
    return count_api_calls(airflow.log_file("api-server").read_text().splitlines())


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
        "time to the end, s": round(timing.seconds, 1),
        "ratio": round(timing.seconds / base.seconds, 2),
        "worker-seconds each": round(timing.worker_seconds / generations, 2),
        "ratio of these": round(timing.worker_seconds / base.worker_seconds, 2),
        "worker starts": timing.worker_starts,
        "submissions": timing.submissions,
        "polls": timing.polls,
        "states": ", ".join(f"{count} {state}" for state, count in timing.states.items()),
    }


def calls_row(timing: Timing, generations: int) -> dict[str, Any]:
    """The calls of a generation to the API server as a row of a table."""
    counted = {name: sum(timing.calls.get(call, 0) for call in calls) for name, calls in CALLS.items()}
    total = sum(timing.calls.values())
    counted |= {OTHER_CALLS: total - sum(counted.values()), "all": total}
    return {name: round(count / generations, 1) for name, count in counted.items()}


def cpu_row(timing: Timing, generations: int, base: Timing) -> dict[str, Any]:
    """The CPU seconds of a generation as a row of a table.

    :param base: what the ratio is against.
    """
    total = sum(timing.cpu.values())
    cells = {component: round(seconds / generations, 3) for component, seconds in timing.cpu.items()}
    return cells | {"all": round(total / generations, 2), "ratio": round(total / sum(base.cpu.values()), 2)}


def main(ways: list[str]) -> None:
    """Time the ways, the first of which is what the others are compared with; CPU is compared with the plain one."""
    if unknown := set(ways) - set(WAYS):
        sys.exit(f"There is no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    for name, configuration in CONFIGURATIONS.items():
        rounds = [
            {way: time_run(way, configuration=configuration) for way in ways or WAYS} for _ in range(ROUNDS[name])
        ]
        timings = medians(rounds, lambda timing: timing.seconds)
        base = next(iter(timings.values()))
        publish(name, {WAYS[way]: row(timing, GENERATIONS, base) for way, timing in timings.items()})
        if name == "airflow":
            timings = medians(rounds, lambda timing: sum(timing.cpu.values()))
            publish("airflow_calls", {WAYS[way]: calls_row(timing, GENERATIONS) for way, timing in timings.items()})
            plain = timings.get("plain_operator", next(iter(timings.values())))
            publish("airflow_cpu", {WAYS[way]: cpu_row(timing, GENERATIONS, plain) for way, timing in timings.items()})


def medians(rounds: Sequence[Mapping[str, Timing]], key: Callable[[Timing], float]) -> dict[str, Timing]:
    """Of each way the run that is the median by a number."""
    return {way: sorted((each[way] for each in rounds), key=key)[len(rounds) // 2] for way in rounds[0]}


if __name__ == "__main__":
    main(sys.argv[1:])
