"""One Airflow at a time in a process: those that a folder's tests share would else go on beside the next folder's, to
the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from demo.local_airflow import LocalAirflow

_running: list[LocalAirflow] = []


@contextmanager
def only_airflow(airflow: LocalAirflow) -> Iterator[LocalAirflow]:
    """Start an Airflow, and stop all that were started by this before."""
    while _running:
        _running.pop().stop()
    with airflow:
        _running.append(airflow)
        yield airflow
