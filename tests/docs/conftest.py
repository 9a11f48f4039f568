"""An Airflow with a database and without a running part, and a sandbox that its connection leads to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The home of this very process, with a migrated database, as ``dag.test()`` and many a command want it."""
    command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(os.environ["AIRFLOW_HOME"])


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())
    monkeypatch.setenv("SEGMIND_API_KEY", kandinsky_sandbox.api_key)
    return kandinsky_sandbox
