"""Every Python block runs: DAGs are run against the sandbox, tests by pytest, and all else is executed as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segmind
from airflow import sdk
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.io import attach
from s3fs import S3FileSystem

from airflow_provider_kandinsky.sandbox.client import Sandbox

from .documentation import Block, blocks, blocks_of

DAGS = [block for block in blocks("python") if "@dag" in block.text]
TESTS = [block for block in blocks("python") if "def test_" in block.text]
SCRIPTS = [block for block in blocks("python") if block not in DAGS and block not in TESTS]


def here(code: str, folder: Path, sandbox: Sandbox) -> str:
    """The code, with this test's own folder and sandbox in the place of those that a page names."""
    return code.replace("/tmp/", f"{folder}/").replace("http://127.0.0.1:8765", sandbox.url)


@pytest.fixture
def vendors_sdk(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client behind ``segmind.run()`` talks to the sandbox; it takes no address from anywhere."""
    client = segmind.SegmindClient(base_url=f"{sandbox.url}/v1")
    monkeypatch.setattr(segmind, "_default_client", client)
    with client._client:
        yield


@pytest.fixture
def dags_folder(airflow_home: Path) -> Iterator[Path]:
    """Where Airflow looks for DAGs: ``dag.test()`` runs no others."""
    folder = airflow_home / "dags"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def dag_in(folder: Path) -> DAG:
    bag = DagBag(folder, bundle_path=folder)
    assert bag.import_errors == {}
    (dag,) = bag.dags.values()
    return dag


@pytest.mark.xdist_group("docs")
@pytest.mark.usefixtures("vendors_sdk")
@pytest.mark.parametrize("block", DAGS, ids=str)
def test_dags_paint(
    block: Block,
    sandbox: Sandbox,
    s3: S3FileSystem,
    dags_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if ".loop(" in block.text and not hasattr(sdk, "LoopDecision"):
        pytest.skip("this Airflow has no task loops")
    attach("s3", conn_id="aws_default", fs=s3)
    database = {"conn_type": "sqlite", "host": str(tmp_path / "products.db")}
    monkeypatch.setenv("AIRFLOW_CONN_PRODUCTS_DB", json.dumps(database))
    (dags_folder / "documented.py").write_text(here(block.text, tmp_path, sandbox), encoding="utf-8")
    run = dag_in(dags_folder).test()
    assert run.state == "success"
    assert sandbox.submissions
    assert bool(s3.find("pictures")) == ("s3://" in block.text)


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("block", TESTS, ids=str)
def test_tests_pass(block: Block, airflow_home: Path, tmp_path: Path) -> None:
    """In an Airflow and a pytest of their own, which has to find the fixture by itself; with the DAGs of their page."""
    dags = tmp_path / "dags"
    dags.mkdir()
    for index, other in enumerate(each for each in DAGS if each.page == block.page):
        (dags / f"documented_{index}.py").write_text(other.text, encoding="utf-8")
    (tmp_path / "test_documented.py").write_text(block.text, encoding="utf-8")
    shutil.copy(airflow_home / "airflow.db", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_documented.py"],
        cwd=tmp_path,
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{block.text.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_scripts_run(block: Block, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may leave out how ``sandbox`` came to be, where it has said so before."""
    monkeypatch.chdir(tmp_path)
    # Not in this module's name: what a block defines is to be gone with it.
    names: dict[str, Any] = {"__name__": "documented", "sandbox": sandbox}
    exec(compile(here(block.text, tmp_path, sandbox), str(block), "exec", dont_inherit=True), names)


def test_nothing_is_left_out() -> None:
    assert sorted(map(str, [*DAGS, *TESTS, *SCRIPTS])) == sorted(map(str, blocks("python")))
    assert all(each in blocks_of(each.page) for each in DAGS)
