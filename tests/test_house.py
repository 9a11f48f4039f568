"""The package keeps to the measure and to the words of the field, so that a reader finds his way by names."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "airflow_provider_kandinsky"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 250
MAX_FUNCTION_LINES = 50
MAX_INTERNAL_IMPORTS = 10

#: Words of our own, for which the field has others: poll, submit, re-attach, image, response, retry hint, resolve.
OWN_WORDS = re.compile(
    r"\b(advice|anew|befalls?|befell|bought|buys|in_words|lookers?|purchas\w*|settles?|settled|somebody|take_up|"
    r"takes? (?:it |them )?up|taken up|tells?|told|took (?:it |them )?up|watch(?:ed)?_job)\b|"
    r"(?<!first )\blook(?:s|ed|ing)? (?:again|around|at)\b",
    re.IGNORECASE,
)
#: Where the words are held to: all that people read, but for this file and the texts of licences.
FOLDERS = (PACKAGE.name, "benchmarks", "changes", "demo", "docs", "example_dags", "tests")
READ = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".css", ".html", ".js", ".md", ".py", ".rst", ".sh"} and path != Path(__file__)
) + sorted(ROOT.glob("*.md"))

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
    sizes = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    assert not [(name, size) for name, size in sizes if size > MAX_FUNCTION_LINES]


@cache
def imported_names(module: Path) -> list[tuple[str, str]]:
    """What a module imports from this package: pairs of a module and a name in it. A module that is imported as a
    whole has no name."""
    found = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name
        for alias in node.names
    ]
    return [(f"{room}.{name}", "") if file_of(f"{room}.{name}").is_file() else (room, name) for room, name in found]


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@each_module
def test_a_module_needs_few_others(module: Path) -> None:
    assert len({room for room, _ in imported_names(module)}) <= MAX_INTERNAL_IMPORTS


@each_module
def test_a_name_is_imported_from_where_it_is_defined(module: Path) -> None:
    """Else a module could need more others than it seems to."""
    passed_on = {
        name: room
        for room, name in imported_names(module)
        if name and name in {name for _, name in imported_names(file_of(room))}
    }
    assert not passed_on


def test_no_contract_has_an_exception() -> None:
    settings = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert contracts
    assert not [contract["name"] for contract in contracts if "ignore_imports" in contract]


@pytest.mark.parametrize("file", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_are_those_of_the_field(file: Path) -> None:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    assert not {number: line for number, line in lines if OWN_WORDS.search(line)}
