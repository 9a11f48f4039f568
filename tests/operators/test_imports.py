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


@pytest.mark.parametrize("name", ["text_to_image", "text_to_image_batch"])
def test_an_operator_does_not_import_its_engine(name: str) -> None:
    code = f"import sys, airflow_provider_kandinsky.operators.{name}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not ENGINE & set(imported.split())
