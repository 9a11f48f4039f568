"""exceptions.py holds every error that a user may catch, and is cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import airflow_provider_kandinsky
from airflow_provider_kandinsky import exceptions
from airflow_provider_kandinsky.segmind.errors import KandinskyError

PACKAGE = Path(airflow_provider_kandinsky.__file__).parent

#: Never reach a user: the gallery and the sandbox turn theirs into responses, and the client this one into others.
INTERNAL = ("gallery", "sandbox", "segmind/wire/bodies.py")


def exception_classes() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        if not path.relative_to(PACKAGE).as_posix().startswith(INTERNAL):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception")):
                    yield node.name


def test_every_public_exception_is_there() -> None:
    found = sorted(exception_classes())
    assert "LedgerError" in found
    assert sorted(set(exceptions.__all__) - {"Billing"}) == found


def test_each_is_an_exception() -> None:
    for name in set(exceptions.__all__) - {"Billing", "LedgerError"}:
        assert issubclass(getattr(exceptions, name), KandinskyError)
    assert issubclass(exceptions.LedgerError, Exception)


def test_the_tree_in_its_docstring_names_each() -> None:
    words = set((exceptions.__doc__ or "").split())
    assert set(exceptions.__all__) - {"Billing"} <= words


def test_importing_it_imports_no_client() -> None:
    code = f"""
import sys
import airflow_provider_kandinsky.compat.airflow
before = set(sys.modules)
import {exceptions.__name__}
print(*sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {
        "batch",
        "batch.errors",
        "durable",
        "durable.errors",
        "results",
        "results.errors",
        "segmind",
        "segmind.errors",
        "exceptions",
    }
    assert set(ran.stdout.split()) == {f"airflow_provider_kandinsky.{room}" for room in rooms}
