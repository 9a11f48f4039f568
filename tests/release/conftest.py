"""The release as an index would get it, and as a user would install it: once for all tests in this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import environment
from .addresses import ROOT
from .checks import Release


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel in it, and nothing that the wheel does not ask for.

    :param airflow_home: an empty one.
    """

    environment: Path
    airflow_home: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, and give what it has written.

        :raises subprocess.CalledProcessError: it has failed.
        """
        program, *arguments = command
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            env=inherited | {"AIRFLOW_HOME": str(self.airflow_home), "COLUMNS": "200"},
            cwd=self.airflow_home,
            capture_output=True,
            text=True,
            check=True,
        )


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The sdist of this checkout, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("release")
    command = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, ROOT]
    subprocess.run(command, capture_output=True, text=True, check=True)
    return Release(ROOT, folder)


@pytest.fixture(scope="session")
def installation(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    place, home = folder / "environment", folder / "airflow"
    home.mkdir()
    environment.install(release.wheel, ROOT / "constraints.txt", place)
    return Installation(place, home)
