"""The column of this Airflow in the table of the docs against what it offers. Each has its turn in the matrix."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_kandinsky.compat import airflow as airflow_compat
from airflow_provider_kandinsky.compat.loops import supports_loops
from airflow_provider_kandinsky.links.kandinsky import links_are_served

PAGE = Path(__file__).parents[2] / "docs" / "airflow-versions.md"
MINOR = ".".join(airflow_version.split(".")[:2])


def has_task_state_store() -> bool:
    from airflow.sdk import Context

    return "task_state_store" in Context.__annotations__


def clears_keep_the_record() -> bool:
    from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody

    return has_task_state_store() and "keep_task_state" not in ClearTaskInstancesBody.model_fields


def has_retry_policy() -> bool:
    try:
        importlib.import_module("airflow_provider_kandinsky.retry_policy")
    except ImportError as error:
        # Only the one that says what is missing.
        if "Airflow 3.3" not in str(error):
            raise
        return False
    return True


def makes_the_form_without_the_hook() -> bool:
    """In a process of its own, for in this one the hook may have been imported by others."""
    script = """
import json, sys
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
assert "kandinsky" in {meta.connection_type for meta in HookMetaService.hook_meta_data()}
print("\\n" + json.dumps("airflow_provider_kandinsky.hooks.kandinsky" not in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return bool(json.loads(done.stdout.splitlines()[-1]))


def has_review() -> bool:
    try:
        importlib.import_module("airflow_provider_kandinsky.operators.review")
    except ImportError as error:
        # Only the one that says what is missing.
        if "Airflow 3.1" not in str(error):
            raise
        return False
    return True


def waits_for_people_without_triggerer() -> bool:
    import airflow.sdk

    return hasattr(getattr(airflow.sdk, "TaskInstanceState", None), "AWAITING_INPUT")


OFFERS = {
    "Each image is paid for once, through retries, crashes and clears, with a `ledger_path`": lambda: True,
    "Each image is paid for once, through retries and crashes, without a `ledger_path`": has_task_state_store,
    "… and through clears, without a request history": clears_keep_the_record,
    "A deferred task ends in the triggerer": airflow_compat.triggers_can_set_xcom,
    "… also where a downstream task expands over its result": airflow_compat.triggers_can_set_mapped_length,
    "`KANDINSKY_RETRY_POLICY`": has_retry_policy,
    "It reschedules for rate limits, credits and the daily budget": airflow_compat.policies_can_reschedule,
    "Connections are read in the triggerer's own event loop": airflow_compat.connections_are_read_async,
    "The connection form needs no import of the hook": makes_the_form_without_the_hook,
    "Gallery tabs on the task and on the run": airflow_compat.supports_plugin_tabs,
    "`KandinskyReviewOperator`": has_review,
    "… and no triggerer waits for the person": waits_for_people_without_triggerer,
    'The link "Image" costs a task no call to Airflow': links_are_served,
    "Each iteration of a task loop has its own seed and record": supports_loops,
}


def table() -> tuple[list[str], dict[str, list[str]]]:
    """The versions, and the table's row for each."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    (_, *versions), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return versions, {what: cells for what, *cells in rows}


def test_the_table_lists_every_capability() -> None:
    assert list(table()[1]) == list(OFFERS)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=[pytest.mark.heavy] if offers is makes_the_form_without_the_hook else [])
        for what, offers in OFFERS.items()
    ],
)
def test_this_airflow_gives_what_the_table_says(what: str) -> None:
    versions, rows = table()
    assert rows[what][versions.index(MINOR)] == ("yes" if OFFERS[what]() else "no")
