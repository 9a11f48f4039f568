"""What a DAG file costs: parsing one imports the operators, and not what runs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENGINE = {
    "airflow_provider_kandinsky.durable.ledger",
    "airflow_provider_kandinsky.durable.submission",
    "airflow_provider_kandinsky.hooks.kandinsky",
    "airflow_provider_kandinsky.results.storage",
    "airflow_provider_kandinsky.segmind.http.async_client",
    "airflow_provider_kandinsky.triggers.job",
}


OPERATORS = ["text_to_image", "text_to_image_batch"]


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """By a process that imports all operators: what none of all has imported, each has not."""
    modules = ", ".join(f"airflow_provider_kandinsky.operators.{name}" for name in OPERATORS)
    code = f"import sys, {modules}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.heavy
@pytest.mark.xdist_group("imports")
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_does_not_import_its_engine(imported: set[str], name: str) -> None:
    assert f"airflow_provider_kandinsky.operators.{name}" in imported
    assert not ENGINE & imported
