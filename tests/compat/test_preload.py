"""What Airflow's long-lived processes import, so that those which they fork need not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_kandinsky.compat.preload import MODULES

pytestmark = pytest.mark.heavy

START = """
import sys
from airflow.jobs.job import Job
from airflow.listeners.listener import get_listener_manager
start = get_listener_manager().hook.on_starting
of_ours = lambda: {name for name in sys.modules if name.startswith("airflow_provider_kandinsky.operators.")}
start(component=object())
assert not of_ours(), of_ours()
Job()
print(*sys.modules)
"""
SUBMISSION = """
import sys
from airflow_provider_kandinsky.compat import preload
preload.on_starting(component=type("Job", (), {"__module__": "airflow.jobs.job"})())
before = set(sys.modules)
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
with KandinskyHook() as hook:
    hook.submit({"prompt": "a cat"})
print("imported:", *(set(sys.modules) - before))
"""


def _imported(script: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_only_a_job_of_airflows_imports_what_its_children_need() -> None:
    assert set(MODULES) <= _imported(START)


@pytest.mark.usefixtures("sandbox")
def test_after_it_a_submission_imports_next_to_nothing() -> None:
    imported = _imported(SUBMISSION)
    assert "imported:" in imported
    ours: tuple[str, ...] = ("airflow_provider_kandinsky.", "anyio", "tenacity")
    if not airflow_version.startswith("3.0."):  # whose packages are older, and import more of their own later
        ours += ("httpcore", "httpx", "pydantic")
    assert [name for name in imported if name.startswith(ours)] == []
