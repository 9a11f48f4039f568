"""A real Airflow whose parts are killed, and a sandbox that counts what was paid for."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from dataclasses import astuple
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Context

from airflow_provider_kandinsky.sandbox.server import running_sandbox
from demo.local_airflow import LocalAirflow

from ..support.one_airflow import only_airflow
from .harness import IMPATIENT, Chaos
from .scoreboard import ROWS, Row, table

DAGS = Path(__file__).with_name("dags")

#: Where there is no Celery, there is no way to start what is in there; see ``make distributed``.
collect_ignore = [] if find_spec("celery") else ["distributed"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        # With the report they come to the process that writes the summary, which is another one with pytest-xdist.
        report.user_properties += [("chaos", astuple(row)) for row in ROWS]
        ROWS.clear()
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    if rows := [Row(*values) for name, values in properties if name == "chaos"]:
        terminalreporter.section("chaos")
        for line in table(rows):
            terminalreporter.line(line)


def _ledger_path(home: Path) -> dict[str, str]:
    """Where the ledger is kept on an Airflow that has no task state store."""
    if "task_state_store" in Context.__annotations__:
        return {}
    folder = home / "ledger"
    folder.mkdir()
    return {"ledger_path": folder.as_uri()}


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    home = tmp_path_factory.mktemp("chaos")
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    with running_sandbox() as sandbox:
        connection = sandbox.connection(**_ledger_path(home))
        env = IMPATIENT | {"AIRFLOW_CONN_KANDINSKY_DEFAULT": connection, "CHAOS_FOLDER": str(home)}
        with only_airflow(LocalAirflow(home, env=env)) as airflow:
            yield Chaos(airflow, sandbox, home)


@pytest.fixture
def chaos(_running: Chaos) -> Iterator[Chaos]:
    _running.sandbox.reset()
    yield _running
    _running.hold.unlink(missing_ok=True)
    _running.sandbox.clear_faults()
    _running.end_runs()
