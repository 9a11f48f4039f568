"""Imports once what every process that Airflow forks would import again.

The scheduler (with the LocalExecutor) forks a process for each stretch of a task, the DAG processor one for each DAG
file. Each would spend 80 ms of CPU on these imports, half of what a submission takes; what its parent has imported it
has for nothing. This module is a listener of Airflow's, see :mod:`~airflow_provider_kandinsky.gallery.plugin`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from airflow.listeners import hookimpl

MODULES: Final = (
    "airflow_provider_kandinsky.operators.text_to_image",
    "airflow_provider_kandinsky.operators.text_to_image_batch",
    "airflow_provider_kandinsky.operators._single",
    "airflow_provider_kandinsky.operators._batch",
    # What httpx imports at its first request from an event loop.
    "anyio._backends._asyncio",
    "anyio.streams.tls",
)


@hookimpl
def on_starting(component: Any) -> None:
    """Import them in a scheduler, a DAG processor or a triggerer, not in a task's own process.

    Airflow logs what this raises, and starts.

    :param component: what is about to start.
    """
    if type(component).__module__ == "airflow.jobs.job":
        for name in MODULES:
            import_module(name)
