"""The package keeps to the measure and to the words of the field, so that a reader finds his way by names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "airflow_provider_kandinsky"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 250
MAX_FUNCTION_LINES = 50
MAX_INTERNAL_IMPORTS = 10

#: Words of our own, for which the field has others: poll, submit, re-attach, image, response, retry hint.
OWN_WORDS = re.compile(
    r"\b(anew|befalls?|bought|buys|in_words|lookers?|purchases?|take_up|takes? up|told|watch(?:ed)?_job)\b|"
    r"(?<!first )\blooks (?:at|around)\b",
    re.IGNORECASE,
)

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


@each_module
def test_a_module_is_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@each_module
def test_a_function_fits_a_screen(module: Path) -> None:
    functions = (
        node
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        # A constructor lists what a user may give.
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != "__init__"
    )
    sizes = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert not {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES}


@each_module
def test_a_module_needs_few_others(module: Path) -> None:
    imported = {
        node.module
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE.name)
    }
    assert len(imported) <= MAX_INTERNAL_IMPORTS


@each_module
def test_the_words_are_those_of_the_field(module: Path) -> None:
    lines = enumerate(module.read_text(encoding="utf-8").splitlines(), start=1)
    assert not {number: line for number, line in lines if OWN_WORDS.search(line)}
