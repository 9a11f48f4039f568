"""What one version has left in Airflow's database is read by another: a trigger's row, the way back into a deferred
task, the record of what was submitted. No release forgets what earlier ones wrote; the folder ``released`` has it."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_kandinsky import __version__, triggers
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, fire, paint, paint_all

RELEASED = {path.stem: json.loads(path.read_text()) for path in Path(__file__).with_name("released").glob("*.json")}
ROWS = [(version, name) for version, left in RELEASED.items() for name in left["triggers"]]
RESUMPTIONS = [
    (version, task_type, method)
    for version, left in RELEASED.items()
    for task_type, methods in left["resumptions"].items()
    for method in methods
]
RECORDS = [(version, task_type) for version, left in RELEASED.items() for task_type in left["records"]]

#: One task of each type, given a job to wait for and whether to keep a record.
TASKS: dict[str, Callable[[str, bool], BaseOperator]] = {
    "KandinskyTextToImageOperator": lambda _, durable: paint(deferrable=True, durable=durable),
    "KandinskyTextToImageBatchOperator": lambda _, durable: paint_all(["a cat"], deferrable=True, durable=durable),
    "KandinskyJobSensor": lambda job, _: KandinskyJobSensor(
        task_id="wait", dag=DAG("gallery"), request_id=job, deferrable=True
    ),
    "KandinskyCreditsSensor": lambda *_: KandinskyCreditsSensor(task_id="save", minimum_credits=9e9, deferrable=True),
}


def trigger_class(name: str) -> Any:
    module, _, class_name = name.rpartition(".")
    return getattr(import_module(module), class_name)


def with_names(left: Any, **names: str) -> Any:
    """What a release has left, with what is of today in the place of its placeholders."""
    written = json.dumps(left)
    for placeholder, name in names.items():
        written = written.replace(placeholder, name)
    return json.loads(written)


def submitted(sandbox: Sandbox) -> str:
    sandbox.configure(latency=0)
    with KandinskyHook() as hook:
        return hook.submit({"prompt": "a cat"}).request_id


@pytest.mark.parametrize(("version", "name"), ROWS)
@pytest.mark.parametrize("more", [{}, {"of_a_later_version": 1}], ids=["as written", "with more in it"])
def test_a_row_of_any_release_is_run(sandbox: Sandbox, version: str, name: str, more: dict[str, Any]) -> None:
    job = submitted(sandbox)
    arguments = with_names(RELEASED[version]["triggers"][name], REQUEST_ID=job)

    event = fire(trigger_class(name)(**arguments | more))

    if "credits" in event:
        assert event["credits"] > 0
    else:
        reported = event["outcomes"][job] if "outcomes" in event else event
        assert reported["result"]["urls"]


@pytest.mark.parametrize("name", RELEASED[__version__]["triggers"])
def test_this_version_writes_what_is_put_down_for_it(name: str) -> None:
    arguments = RELEASED[__version__]["triggers"][name]
    assert trigger_class(name)(**arguments).serialize() == (name, arguments)


@pytest.mark.parametrize(("version", "name"), ROWS)
def test_all_but_the_first_argument_may_be_missing(version: str, name: str) -> None:
    first, value = next(iter(RELEASED[version]["triggers"][name].items()))
    assert trigger_class(name)(**{first: value}).serialize()[1][first] == value


def test_no_trigger_is_forgotten() -> None:
    modules = [import_module(f"{triggers.__name__}.{each.name}") for each in pkgutil.iter_modules(triggers.__path__)]
    made = {
        f"{value.__module__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseTrigger) and value.__module__ == module.__name__
    }
    assert set(RELEASED[__version__]["triggers"]) == made


def deferred(ti: FakeTaskInstance, task: BaseOperator) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(ti.context_of(task))
    return deferral.value


@pytest.mark.parametrize(("version", "task_type", "method"), RESUMPTIONS)
def test_a_task_that_any_release_has_deferred_is_resumed(
    sandbox: Sandbox, ti: FakeTaskInstance, version: str, task_type: str, method: str
) -> None:
    """Without a store, so that what was submitted is in the deferral."""
    job = submitted(sandbox)
    deferral = deferred(ti, TASKS[task_type](job, False))
    (entry,) = (deferral.kwargs or {}).get("entries", [{"key": "", "request_id": job}])
    (pin,) = (deferral.kwargs or {}).get("pinned", {"hashes": [""]})["hashes"]
    names = {"KEY": entry["key"], "REQUEST_ID": entry["request_id"], "PIN": pin}
    kwargs = with_names(RELEASED[version]["resumptions"][task_type][method], **names)
    event = {"credits": 1e10} if task_type == "KandinskyCreditsSensor" else fire(deferral.trigger)
    before = len(sandbox.submissions)

    result = ti.resume(TASKS[task_type](job, False), method, kwargs | {"event": event})

    assert result
    if method == "execute_complete" or "entries" in kwargs:
        assert len(sandbox.submissions) == before


def shape(value: Any) -> Any:
    """The keys of a mapping, or of those in a list."""
    return [shape(each) for each in value] if isinstance(value, list) else set(value)


@pytest.mark.parametrize("task_type", TASKS)
def test_this_version_defers_as_is_put_down_for_it(sandbox: Sandbox, ti: FakeTaskInstance, task_type: str) -> None:
    deferral = deferred(ti, TASKS[task_type]("r-1", False))
    put_down = RELEASED[__version__]["resumptions"][task_type][deferral.method_name]
    for name, value in (deferral.kwargs or {}).items():
        assert shape(value) == shape(put_down[name])


@pytest.mark.parametrize("task_type", RELEASED[__version__]["records"])
def test_this_version_records_what_is_put_down_for_it(sandbox: Sandbox, ti: FakeTaskInstance, task_type: str) -> None:
    deferred(ti, TASKS[task_type]("", True))
    put_down = RELEASED[__version__]["records"][task_type]
    assert {key: shape(ti.store.values[key]) for key in put_down} == {key: shape(put_down[key]) for key in put_down}


@pytest.mark.parametrize(("version", "task_type"), RECORDS)
def test_what_any_release_has_bought_is_taken_up(
    sandbox: Sandbox, ti: FakeTaskInstance, version: str, task_type: str
) -> None:
    """By the next try, after a crash during the upgrade."""
    sandbox.configure(latency=0)
    deferred(ti, TASKS[task_type]("", True))
    records = RELEASED[version]["records"][task_type]
    written = next(iter(ti.store.values[key] for key in records))
    (entry,) = written if isinstance(written, list) else [written]
    names = {"KEY": entry.get("key") or entry["fingerprint"], "REQUEST_ID": entry["request_id"]}
    ti.store.values = with_names(records, **names)

    ti.retry()
    assert ti.run(TASKS[task_type]("", True))
    assert len(sandbox.submissions) == 1
