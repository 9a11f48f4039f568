"""The suite's Airflow, made of more machines than one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.server import running_sandbox

from ..harness import IMPATIENT, Chaos
from .cluster import CeleryAirflow
from .services import PROGRAMS, Postgres, Redis, find

DAGS = Path(__file__).parent.with_name("dags")


def pytest_configure() -> None:
    if missing := [program for program in PROGRAMS if not find(program)]:
        raise pytest.UsageError(
            f"There is no {', no '.join(missing)} on this machine. On Debian: apt-get install postgresql redis-server. "
            "Only the programs are used; the services of these packages need not run"
        )


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    home = tmp_path_factory.mktemp("distributed")
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    with running_sandbox(credits=1_000_000) as sandbox, Postgres() as postgres, Redis() as redis:
        env = IMPATIENT | {"AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(), "CHAOS_FOLDER": str(home)}
        with CeleryAirflow(home, postgres, redis, env) as airflow:
            yield Chaos(airflow, sandbox, home)
