"""The DAGs of the docs and the examples satisfy the type checkers that users have, as far as Airflow's types allow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from ..support.node_modules import installed
from .documentation import ROOT
from .test_python_blocks import DAGS

#: What is wrong by the types has to be reported, too.
WRONG = """
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.types import BatchRequest, BatchRow

unknown_key: BatchRequest = {"prompt": "a cat", "image_width": 512}  # wrong
no_prompt: BatchRequest = {"seed": 7}  # wrong
KandinskyTextToImageOperator(task_id="paint", prompt="a cat", img_width=1.5)  # wrong
KandinskyTextToImageOperator(task_id="paint", prompt=["a cat"])  # wrong
KandinskyTextToImageOperator(task_id="paint", prompt="a cat", scheduler="{{ params.scheduler }}", img_width=768)


def cost(row: BatchRow) -> float:
    return row["price"]  # wrong
"""
EXPECTED = {line for line, text in enumerate(WRONG.splitlines(), start=1) if text.endswith("# wrong")}

#: What Airflow's own types do not know, as mypy and pyright say it. A mistake in the arguments of an operator of ours
#: is none of these: the message names the operator, or its constructor.
AIRFLOWS_OWN = [
    # The result of a task, given to a function under @task whose parameter has the type of the value.
    r'Argument \d+ has incompatible type "XComArg"; expected "[^"]+"',
    r'Argument of type "XComArg" cannot be assigned to parameter "\w+" of type "[^"]+"',
    r'Value of type "XComArg" is not indexable',
    r'"__getitem__" method not defined on type "XComArg"',
    # Its parameters that Airflow fills in from the context.
    r"Too few arguments",
    r"Arguments? missing for parameters? .*",
    # Task loops, which came with 3.4.
    r'Module "airflow.sdk" has no attribute "LoopDecision"',
    r'"LoopDecision" is unknown import symbol',
    r'"_TaskGroupFactory\[.*\]" has no attribute "loop"',
    r'Missing named argument "loop"',
    r'Cannot access attribute "loop" for class "_TaskGroupFactory\[.*\]"',
    # What one Airflow lacks, an example imports from elsewhere, or does without.
    r'Name "AirflowSkipException" already defined \(possibly by an import\)',
    r"Cannot assign to a type",
    r'Incompatible types in assignment \(expression has type "None", variable has type "type\[\w+\]"\)',
    r'"partial" is not a known attribute of "None"',
    r'Object of type "None" cannot be called',
    r'"(task_group|KandinskyReviewOperator)" is possibly unbound',
    # The vendor's client has no types.
    r'Skipping analyzing "segmind": .*',
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All DAGs, each in a file of its own, and one of mistakes."""
    folder = tmp_path_factory.mktemp("dags")
    for index, block in enumerate(DAGS):
        (folder / f"{block.page.stem.replace('-', '_')}_{index}.py").write_text(block.text, encoding="utf-8")
    for example in (ROOT / "example_dags").glob("*.py"):
        shutil.copy(example, folder / f"example_{example.name}")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    return folder


def check(errors: Iterable[tuple[str, int, str]]) -> None:
    """Compare errors, as file, line and message, with what is wrong."""
    found = [
        (Path(file).name, line, message)
        for file, line, message in errors
        if not any(re.fullmatch(pattern, message.splitlines()[0]) for pattern in AIRFLOWS_OWN)
    ]
    assert [error for error in found if error[0] != "wrong.py"] == []
    assert {line for _, line, _ in found} == EXPECTED


@pytest.mark.xdist_group("site")
def test_mypy(folder: Path) -> None:
    # In a DAG function without annotations, too.
    options = ["--config-file=", "--check-untyped-defs", "--output=json"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", str(ROOT / ".mypy_cache" / "docs"), "."],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    reported = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    check((each["file"], each["line"], each["message"]) for each in reported if each["severity"] == "error")


@pytest.mark.xdist_group("site")
def test_pyright(folder: Path) -> None:
    pyright = installed(".bin/pyright")
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "typeCheckingMode": "standard"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [pyright, "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > len(DAGS)
    check(
        (each["file"], each["range"]["start"]["line"] + 1, each["message"])
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    )
