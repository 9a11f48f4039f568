"""An environment with the wheel in it, and nothing that the wheel does not ask for; and the list of what that is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import uv


def install(wheel: Path, constraints: Path, environment: Path) -> None:
    """Make the environment, with the versions that are pinned."""
    name, version, *_ = wheel.name.split("-")
    # By name, as from an index: an environment remembers where on this machine a file was installed from.
    wanted = ["--find-links", wheel.parent, f"{name}=={version}"]
    pip = ["pip", "install", "--quiet", "--python", environment, "--constraint", constraints, *wanted]
    for command in (["venv", "--quiet", "--python", sys.executable, environment], pip):
        subprocess.run([uv.find_uv_bin(), *command], capture_output=True, text=True, check=True)


def list_components(environment: Path, pyproject: Path, version: str, file: Path) -> None:
    """Write what is in the environment as CycloneDX, the same for the same versions.

    :param pyproject: beside it is ``constraints.txt``, which pins the lister.
    """
    # In an environment of its own: with what it brings, everything that imports Airflow begins two seconds later.
    lister = ["--constraints", pyproject.with_name("constraints.txt"), "--from", "cyclonedx-bom", "cyclonedx-py"]
    listing = ["tool", "run", "--python", sys.executable, *lister, "environment", "--output-reproducible"]
    ours = ["--pyproject", pyproject, "--mc-type", "library", "--output-file", file]
    command = [uv.find_uv_bin(), *listing, *ours, environment / "bin" / "python"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    listed = json.loads(file.read_text(encoding="utf-8"))
    # pyproject.toml does not have it.
    component = listed["metadata"]["component"]
    component |= {"version": version, "purl": f"pkg:pypi/{component['name']}@{version}"}
    file.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n", encoding="utf-8")
