"""Two schedulers' worth of processes that want the same images, and a table that is enriched every day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.task_instance import SMALL, another_run, paint_all

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("where", ["local", "s3"])
def test_two_processes_that_want_the_same_submit_it_once(
    sandbox: Sandbox, request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    folder, environment = f"file://{tmp_path}", dict(os.environ)
    if where == "s3":
        s3: Any = request.getfixturevalue("s3")
        folder, environment["S3_ENDPOINT"] = "s3://moto@pictures/cats", s3.endpoint_url
    command = [sys.executable, "-m", "tests.support.one_who_wants"]
    processes = [
        subprocess.Popen([*command, str(number), folder], env=environment, stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (json.loads(output.splitlines()[-1]) for output in outputs)
    assert sandbox.count_calls("submit") == 100
    assert first["urls"] == second["urls"]
    assert first["counts"]["reused"] + second["counts"]["reused"] == 100
    path = ObjectStoragePath(folder) / ".kandinsky"
    assert len(path.fs.find(path.path)) == 100  # no claim is left


def test_a_table_that_hardly_changes(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.configure(credits=100)
    rows = [{"key": number, "prompt": f"row {number}"} for number in range(1000)]
    changed = [row | {"prompt": f"changed {row['key']}"} for row in rows[:10]] + rows[10:]
    submitted = []
    for day, wanted in enumerate((rows, rows, changed)):
        before, ti = len(sandbox.submissions), another_run(day)
        path = f"file://{tmp_path}/{{key}}-{{request_id}}.{{extension}}"
        ti.run(paint_all(wanted, output_path=path, reuse=True, **SMALL))
        submitted.append(len(sandbox.submissions) - before)
        counts = ti.pushed["counts"]
        assert (counts["succeeded"], counts["reused"]) == (1000, 1000 - submitted[-1])
        assert counts["cost"] == pytest.approx(0.01 * submitted[-1])
    assert submitted == [1000, 0, 10]
