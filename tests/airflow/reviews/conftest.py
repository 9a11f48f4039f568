"""An Airflow with several users, and with runs that asset events start: what a review needs beyond one task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from .people import ANSWERS_ALL, ASSIGNED

EXAMPLE_DAGS = Path(__file__).parents[3] / "example_dags"
#: The DAGs that the browser tests review, too.
REVIEWS = Path(__file__).parents[2] / "browser" / "dags" / "reviews.py"


@pytest.fixture(scope="package")
def airflow(_sandbox: Sandbox, output_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """It has no DAG that a schedule starts, so that it may start what has one."""
    home = tmp_path_factory.mktemp("reviews")
    (home / "dags").mkdir()
    for file in (EXAMPLE_DAGS / "editorial_calendar.py", EXAMPLE_DAGS / "repaint_until_chosen.py", REVIEWS):
        shutil.copy(file, home / "dags")
    env = {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": _sandbox.connection(),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
    }
    # Both may write: what keeps one of them from answering is the review.
    with LocalAirflow(home, env=env, users={ASSIGNED: "ADMIN", ANSWERS_ALL: "ADMIN"}) as airflow:
        yield airflow
