"""``airflow providers``: what is ours is listed, and Airflow has nothing to complain about.

With ``--verbose``, for without it these commands keep every warning to themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE, PROVIDER_INFO

OURS = "kandinsky"

WITH_A_CLASS_THAT_IS_NOT_THERE = """
import sys
from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE, PROVIDER_INFO
CONNECTION_TYPE["hook-class-name"] = "airflow_provider_kandinsky.nowhere.Nothing"
PROVIDER_INFO["extra-links"] = ["airflow_provider_kandinsky.nowhere.Nothing"]
from airflow.__main__ import main
main()
"""


def run(*arguments: str, airflow: tuple[str, ...] = ("-m", "airflow")) -> tuple[Any, list[str]]:
    """Run one of the commands.

    :return: what it prints, and the lines about us among what it logs.
    """
    command = [sys.executable, *airflow, "providers", *arguments, "--output", "json", "--verbose"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    listed, logged = done.stdout.splitlines(), done.stderr.splitlines()
    return json.loads(listed[-1]), [line for line in (*listed[:-1], *logged) if OURS in line]


def as_printed(value: Any) -> Any:
    """What a command makes of a value: it prints numbers and truths as text."""
    if isinstance(value, dict):
        return {name: as_printed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_printed(each) for each in value]
    return value if value is None else str(value)


def of_connection_fields(rows: list[dict[str, Any]]) -> set[str]:
    return {row["connection_parameter_name"] for row in rows if row["package_name"] == PROVIDER_INFO["package-name"]}


def of_triggers(rows: list[dict[str, Any]]) -> set[str]:
    return {row["class"] for row in rows if row["package_name"] == PROVIDER_INFO["package-name"]}


def named(column: str) -> Callable[[list[dict[str, Any]]], set[str]]:
    return lambda rows: {row[column] for row in rows if OURS in row[column]}


LISTS: dict[str, tuple[Callable[[list[dict[str, Any]]], set[str]], set[str]]] = {
    "list": (named("package_name"), {PROVIDER_INFO["package-name"]}),
    "hooks": (named("connection_type"), {CONNECTION_TYPE["connection-type"]}),
    "widgets": (of_connection_fields, {f"extra__kandinsky__{name}" for name in CONNECTION_TYPE["conn-fields"]}),
    "behaviours": (named("field_behaviours"), {CONNECTION_TYPE["connection-type"]}),
    "links": (named("extra_link_class_name"), set(PROVIDER_INFO.get("extra-links", ()))),
    "notifications": (named("notification_class_name"), set(PROVIDER_INFO.get("notifications", ()))),
    "triggers": (of_triggers, {name for each in PROVIDER_INFO["triggers"] for name in each["python-modules"]}),
}


@pytest.mark.parametrize("command", LISTS)
def test_each_list_has_what_is_ours_and_no_warning(command: str) -> None:
    ours, expected = LISTS[command]
    rows, logged = run(command)
    assert ours(rows) == expected
    assert not logged


def test_the_provider_tells_all_about_itself() -> None:
    (reported,), logged = run("get", PROVIDER_INFO["package-name"], "--full")
    ours = PROVIDER_INFO | {"description": PROVIDER_INFO["description"].rstrip(".")}
    assert reported | as_printed(ours) == reported
    assert not logged


@pytest.mark.parametrize("command", ["hooks", "links"])
def test_a_class_that_is_not_there_would_be_seen(command: str) -> None:
    _, logged = run(command, airflow=("-c", WITH_A_CLASS_THAT_IS_NOT_THERE))
    assert any("airflow_provider_kandinsky.nowhere" in line for line in logged)
