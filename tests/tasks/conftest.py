from __future__ import annotations

import pytest
from task_instance import TaskInstance

from airflow_provider_kandinsky.sandbox.client import Sandbox


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())
    return kandinsky_sandbox


@pytest.fixture(autouse=True)
def no_scheduler_to_confuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_kandinsky.triggers.job.HOLD_BACK", 0.0)


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()
