"""One real Airflow and one sandbox for all tests in this folder: to start them takes longer than any of the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from demo.local_airflow import LocalAirflow

from ..support.one_airflow import only_airflow
from ..support.statsd_server import StatsdSocket

EXAMPLE_DAGS = Path(__file__).parents[2] / "example_dags"
TEST_DAGS = Path(__file__).with_name("dags")


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    with running_sandbox(latency=3) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def output_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example DAGs write to, by default."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdSocket]:
    """Where :func:`airflow` sends its metrics of jobs."""
    server = StatsdSocket()
    yield server
    server.close()


@pytest.fixture(scope="session")
def airflow(
    _sandbox: Sandbox, output_folder: Path, statsd: StatsdSocket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """A running Airflow with the example DAGs, whose ``kandinsky_default`` leads to the sandbox.

    A test may add DAG files to its ``dags_folder``.
    """
    home = tmp_path_factory.mktemp("airflow")
    for folder in (EXAMPLE_DAGS, TEST_DAGS):
        shutil.copytree(folder, home / "dags", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    env = {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": _sandbox.connection(),
        "AIRFLOW_CONN_PRODUCTS_DB": json.dumps({"conn_type": "sqlite", "host": str(output_folder / "products.db")}),
        "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
    }
    with only_airflow(LocalAirflow(home, env=env | statsd.settings)) as airflow:
        yield airflow


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    """The sandbox of :func:`airflow`, as new for each test."""
    _sandbox.reset()
    return _sandbox
