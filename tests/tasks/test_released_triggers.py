"""A trigger's row was written by one version and is run by another: no release forgets what those before it wrote."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from task_instance import fire

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.handle import Sandbox

RELEASED = {path.stem: json.loads(path.read_text()) for path in Path(__file__).with_name("released").glob("*.json")}
ROWS = [(version, name) for version, rows in RELEASED.items() for name in rows]


def trigger_class(name: str) -> Any:
    module, _, class_name = name.rpartition(".")
    return getattr(import_module(module), class_name)


def row(version: str, name: str, request_id: str) -> dict[str, Any]:
    """The arguments as a release wrote them, for a job that there is."""
    arguments: dict[str, Any] = json.loads(json.dumps(RELEASED[version][name]).replace("REQUEST_ID", request_id))
    return arguments


@pytest.mark.parametrize(("version", "name"), ROWS)
@pytest.mark.parametrize("more", [{}, {"of_a_later_version": 1}], ids=["as written", "with more in it"])
def test_a_row_of_any_release_is_run(sandbox: Sandbox, version: str, name: str, more: dict[str, Any]) -> None:
    sandbox.configure(latency=0)
    with KandinskyHook() as hook:
        job = hook.submit({"prompt": "a cat"})

    event = fire(trigger_class(name)(**row(version, name, job.request_id) | more))

    told = event["outcomes"][job.request_id] if "outcomes" in event else event
    assert told["result"]["urls"]


@pytest.mark.parametrize("name", RELEASED[__version__])
def test_this_version_writes_what_is_put_down_for_it(name: str) -> None:
    arguments = row(__version__, name, "r-1")
    assert trigger_class(name)(**arguments).serialize() == (name, arguments)


@pytest.mark.parametrize(("version", "name"), ROWS)
def test_all_but_the_first_argument_may_be_missing(version: str, name: str) -> None:
    first, value = next(iter(row(version, name, "r-1").items()))
    assert trigger_class(name)(**{first: value}).serialize()[1][first] == value
