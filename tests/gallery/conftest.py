"""One real Airflow with the gallery in it, a sandbox, and the ways to ask for a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from without_xcoms import ENVIRONMENT, WITHOUT_XCOMS

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from demo.local_airflow import LocalAirflow

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
    env = ENVIRONMENT | {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(),
        "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
    }
    with LocalAirflow(home, parallelism=2, env=env, users=USERS) as airflow:
        yield airflow


@dataclass
class Visitor:
    """Somebody who has logged in, or not, and asks for pages as a browser does."""

    http: httpx.Client

    def get(self, dag_id: str, run_id: str, *path: object, **params: object) -> httpx.Response:
        """Ask for something of a run."""
        parts = "/".join(quote(str(part), safe="") for part in path)
        run = f"/kandinsky-gallery/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"
        return self.http.get(f"{run}/{parts}" if parts else run, params=params)

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: object = "{MAP_INDEX}", **params: object) -> str:
        """The page of a task, which is to be there."""
        answer = self.get(dag_id, run_id, "tasks", task_id, map_index, **params)
        assert answer.status_code == 200, answer.text
        return answer.text


def visitor(airflow: LocalAirflow, user: str | None) -> Visitor:
    """The cookie is the one that the UI has."""
    cookies = {}
    if user:
        login = {"username": user, "password": airflow.passwords[user]}
        answer = httpx.post(f"{airflow.base_url}/auth/token", json=login, trust_env=False).raise_for_status()
        cookies["_token"] = answer.json()["access_token"]
    return Visitor(httpx.Client(base_url=airflow.base_url, cookies=cookies, timeout=30, trust_env=False))


@pytest.fixture(scope="session")
def admin(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, "admin")


@pytest.fixture(scope="session")
def without_xcoms(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, WITHOUT_XCOMS)


@pytest.fixture(scope="session")
def stranger(airflow: LocalAirflow) -> Visitor:
    return visitor(airflow, None)


@pytest.fixture(scope="session")
def run_id(airflow: LocalAirflow) -> str:
    """A finished run of ``every_kind``."""
    run_id = airflow.trigger_dag("every_kind")
    airflow.wait_for_run("every_kind", run_id, timeout=180)
    return run_id
