"""What a task that ends in the triggerer leaves in XCom, and when it resumes in a worker instead."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.bases.xcom import BaseXCom
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger

from ..support.airflow_names import TaskDeferred
from ..support.running_jobs import keep_running
from ..support.task_instance import FakeTaskInstance, paint


class WithLength(BaseXCom):
    """XComs as triggers write them in Airflow 3.3."""

    written: ClassVar[dict[str, tuple[Any, int | None]]] = {}
    read: ClassVar[list[str]] = []

    @classmethod
    async def aset(
        cls,
        key: str,
        value: Any,
        *,
        dag_id: str,
        task_id: str,
        run_id: str,
        map_index: int = -1,
        _mapped_length: int | None = None,
    ) -> None:
        assert (dag_id, task_id, run_id, map_index) == ("gallery", "paint", "manual__1", -1)
        cls.written[key] = (value, _mapped_length)

    @classmethod
    async def aget_one(cls, *, key: str, dag_id: str, task_id: str, run_id: str, map_index: int | None = None) -> Any:
        assert (key, dag_id, task_id, run_id, map_index) == ("request_id", "gallery", "paint", "manual__1", -1)
        cls.read.append(key)
        return "r-1"


class WithoutLength(WithLength):
    """XComs as triggers write them in Airflow 3.4."""

    @classmethod
    async def aset(cls, key: str, value: Any, *, dag_id: str, task_id: str, run_id: str, map_index: int = -1) -> None:
        await super().aset(key, value, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)


def use(xcom: type[WithLength], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom", xcom)
    monkeypatch.setattr(xcom, "written", {})
    monkeypatch.setattr(xcom, "read", [])


def deferred(ti: FakeTaskInstance, *, expanded: bool) -> KandinskyJobTrigger:
    """The trigger that a task leaves to the triggerer.

    :param expanded: whether a downstream task expands over the result.
    """
    operator = paint(dag=DAG("gallery"), deferrable=True)
    if expanded:
        BaseOperator.partial(task_id="frame", dag=operator.dag).expand(params=operator.output)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(ti.context_of(operator))
    trigger: Any = deferral.value.trigger
    trigger.task_instance = ti
    assert isinstance(trigger, KandinskyJobTrigger)
    return trigger


def fire(trigger: KandinskyJobTrigger) -> TriggerEvent:
    async def events() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    (event,) = asyncio.run(events())
    return event


@pytest.mark.parametrize("xcom", [WithLength, WithoutLength])
def test_it_ends_in_the_triggerer_where_nothing_expands_over_the_result(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, xcom: type[WithLength]
) -> None:
    use(xcom, monkeypatch)
    event = fire(deferred(ti, expanded=False))
    assert isinstance(event, TaskSuccessEvent)
    urls = [f"{sandbox.url}/generations/{ti.pushed['request_id']}-0.png"]
    assert xcom.written["return_value"] == (urls, None)
    assert set(xcom.written) == {"return_value", "generation"}


def test_where_the_length_can_be_stored_it_ends_in_the_triggerer_for_a_task_that_expands(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(WithLength, monkeypatch)
    assert isinstance(fire(deferred(ti, expanded=True)), TaskSuccessEvent)
    assert WithLength.written["return_value"][1] == 1


def test_where_it_cannot_the_task_is_planned_to_resume(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(WithoutLength, monkeypatch)
    trigger = deferred(ti, expanded=True)
    assert trigger.delivery is None


def test_a_trigger_of_before_an_upgrade_resumes_its_task_and_logs_no_error(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(WithLength, monkeypatch)
    trigger = deferred(ti, expanded=True)
    trigger.min_lifetime = 0.1
    use(WithoutLength, monkeypatch)
    with caplog.at_level(logging.INFO):
        event = fire(trigger)
    assert not isinstance(event, TaskSuccessEvent)
    assert event.payload["result"]["urls"]
    assert WithoutLength.written == {}
    # Through the one or the other, as the version of Airflow has it.
    logged = caplog.text + capsys.readouterr().out
    assert "a worker will deliver it: a downstream task expands over its result" in logged
    assert "Traceback" not in logged


def test_a_triggerer_s_first_call_is_made_once_and_before_there_is_anything_to_deliver(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.3 builds an API within the triggerer at that call, for seconds in which nothing is delivered."""
    use(WithLength, monkeypatch)
    keep_running(sandbox)
    triggers = [deferred(ti, expanded=False) for _ in range(3)]
    written_by_then: list[int] = []

    async def watch() -> list[TriggerEvent]:
        async def fire_one(trigger: KandinskyJobTrigger) -> list[TriggerEvent]:
            return [event async for event in trigger.run()]

        firing = [asyncio.ensure_future(fire_one(trigger)) for trigger in triggers]
        while not WithLength.read:
            await asyncio.sleep(0)
        written_by_then.append(len(WithLength.written))
        sandbox.clear_faults()
        return [event for events in await asyncio.gather(*firing) for event in events]

    assert all(isinstance(event, TaskSuccessEvent) for event in asyncio.run(watch()))
    assert (WithLength.read, written_by_then) == (["request_id"], [0])


def test_a_first_call_that_fails_harms_nothing(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable(WithLength):
        @classmethod
        async def aget_one(cls, **_: Any) -> Any:
            raise RuntimeError("the supervisor is gone")

    use(Unreadable, monkeypatch)
    assert isinstance(fire(deferred(ti, expanded=False)), TaskSuccessEvent)
