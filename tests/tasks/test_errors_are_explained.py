"""A failed task says where its error is explained, and finds that out only then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.errors import LedgerError
from airflow_provider_kandinsky.links.documentation import error_url, find_documentation_url, name_error_section
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.tasks.error_translation import translate_operator_errors

from ..support.task_instance import FakeTaskInstance, paint

DOCS = "https://docs.test/kandinsky/"


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (["Documentation, https://docs.test/kandinsky/"], DOCS),
        (["Model, https://www.segmind.com", "Documentation, https://docs.test/kandinsky"], DOCS),
        (["Documentation, https://example.org/airflow-provider-kandinsky/"], None),
        (["Documentation, https://docs.example/"], None),
        (["Documentation, javascript:alert(1)"], None),
        (["Documentation"], None),
        (["Model, https://www.segmind.com"], None),
        ([], None),
    ],
)
def test_the_address_is_the_packages_own_unless_it_is_a_placeholder(urls: list[str], expected: str | None) -> None:
    assert find_documentation_url(urls) == expected


def test_without_an_address_the_page_is_named() -> None:
    assert error_url("JobFailedError", None) is None
    assert name_error_section("JobFailedError", DOCS) == f"{DOCS}errors.html#jobfailederror"
    assert name_error_section("JobFailedError", None) == 'section JobFailedError of the page "Errors" in the docs'


def test_the_log_leads_to_the_section_before_the_exception(
    sandbox: Sandbox, ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AirflowFailException):
        ti.run(paint(prompt="[blocked] a wolf"))
    line = caplog.records[-1]
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith("What to do about ContentBlockedError: ")


def test_a_ledger_that_cannot_be_read_is_explained_and_shown(
    ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LedgerError), translate_operator_errors(ti.context):
        raise LedgerError("The record could not be read")
    assert "What to do about LedgerError: " in caplog.text
    assert ti.pushed["error"] == {"type": "LedgerError", "message": "The record could not be read"}


@pytest.mark.heavy
def test_parsing_a_dag_neither_imports_nor_logs_anything(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AirflowFailException):
        paint(samples=99)
    assert "What to do" not in caplog.text
    modules = "operators.text_to_image, {0}.operators.text_to_image_batch, {0}.sensors.job, {0}.sensors.credits"
    package = "airflow_provider_kandinsky"
    code = f"import sys, {package}.{modules.format(package)}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"{package}.links.documentation", f"{package}.types"} & set(imported)
