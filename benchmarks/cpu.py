"""How much CPU each component of an Airflow has used."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import psutil

from demo.local_airflow import COMPONENTS, LocalAirflow

#: The workers are processes of the scheduler's, with the LocalExecutor.
WORKERS = "workers"


def cpu_seconds(airflow: LocalAirflow) -> dict[str, float]:
    """CPU seconds of each component since its start: of all its processes, and of those that have ended.

    :return: by component, and ``workers``, which the scheduler is without.
    """
    seconds = {component: sum(map(_with_ended_children, airflow.pids(component))) for component in COMPONENTS}
    leader = psutil.Process(airflow.pids("scheduler")[0]).cpu_times()
    own = leader.user + leader.system
    return seconds | {"scheduler": own, WORKERS: seconds["scheduler"] - own}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two moments."""
    return {component: after[component] - before[component] for component in after}


def _with_ended_children(pid: int) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
