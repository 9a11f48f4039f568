"""One real Airflow with the gallery in it, a sandbox, and the ways to ask for a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from demo.local_airflow import LocalAirflow

from ..support import auth_manager as without_xcoms
from ..support import secrets_backend as denying_backend
from ..support.auth_manager import WITHOUT_XCOMS
from ..support.one_airflow import only_airflow
from .visitor import Visitor, visitor

USERS = {"admin": "ADMIN", WITHOUT_XCOMS: "VIEWER"}


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(latency=0.2) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def output_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def airflow(sandbox: Sandbox, output_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("gallery")
    shutil.copytree(Path(__file__).with_name("dags"), home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    env = (
        without_xcoms.ENVIRONMENT
        | denying_backend.ENVIRONMENT
        | {
            "AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(),
            "AIRFLOW_CONN_TRUSTING": sandbox.connection(image_hosts="elsewhere.example"),
            # Without a key, and another with everything but the right type.
            "AIRFLOW_CONN_KEYLESS": '{"conn_type": "kandinsky", "host": "https://elsewhere.example"}',
            "AIRFLOW_CONN_DATABASE": '{"conn_type": "http", "host": "https://elsewhere.example", "password": "x"}',
            "AIRFLOW_CONN_BROKEN": '{"conn_type": "kandinsky", "extra": {"image_hosts": 5}}',
            "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
        }
    )
    with only_airflow(LocalAirflow(home, parallelism=2, env=env, users=USERS)) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def airflow_without_files(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """A second API server of the same Airflow, which lets everybody in and serves no stored files."""
    keys = ("AIRFLOW_CONN_KANDINSKY_DEFAULT", "KANDINSKY_OUTPUT_FOLDER")
    env = {key: airflow.env[key] for key in keys} | {"AIRFLOW__KANDINSKY__GALLERY_SERVES_FILES": "False"}
    database = airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    home = tmp_path_factory.mktemp("without_files")
    with LocalAirflow(home, env=env, components=["api-server"], database=database) as second:
        yield second


@pytest.fixture(scope="session")
def admin(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, "admin")


@pytest.fixture(scope="session")
def visitor_without_xcoms(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, WITHOUT_XCOMS)


@pytest.fixture(scope="session")
def stranger(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, None)


@pytest.fixture(scope="session")
def run_id(airflow: LocalAirflow) -> str:
    """A finished run of ``every_kind``."""
    run_id = airflow.trigger_dag("every_kind")
    airflow.wait_for_run("every_kind", run_id)
    return run_id
