"""Where a task has ended, by its log."""

from __future__ import annotations


def ended_in_triggerer(log: str) -> bool:
    """Whether the trigger has delivered the result. Airflow's own words for it differ from version to version."""
    return any(" completed: " in line and "triggers.job" in line for line in log.splitlines())
