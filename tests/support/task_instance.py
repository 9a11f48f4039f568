"""A stand-in for Airflow around one task: the XComs, the store, and the way from a deferral back into the task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.segmind.waiting.poller import PollPolicy
from airflow_provider_kandinsky.segmind.waiting.sweep_policy import SweepPolicy

from .airflow_names import TaskDeferred


class MemoryStore:
    """As Airflow's task state store, which outlives tries, success and clears."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class FakeTaskInstance:
    """As much of Airflow's as the tasks touch, with its XComs in plain sight."""

    dag_id, run_id, task_id = "gallery", "manual__1", "paint"
    map_index = -1
    try_number = 1
    wanted_by = SimpleNamespace(retries=2)
    max_tries = wanted_by.retries

    def __init__(self) -> None:
        self.run_after = self.start_date = self.run_started = datetime.now(UTC)
        self.pushed: dict[str, Any] = {}
        self.store = MemoryStore()
        self.outlet_events = OutletEventAccessors()
        self.deferrals = 0

    @property
    def context(self) -> Any:
        dag_run = SimpleNamespace(run_after=self.run_after, start_date=self.run_started)
        return {"ti": self, "task_state_store": self.store, "task": self.wanted_by, "dag_run": dag_run}

    def context_of(self, operator: Any) -> Any:
        return self.context | {"outlets": operator.outlets, "outlet_events": self.outlet_events}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.pushed.get(key)

    def get_first_reschedule_date(self, _: Any) -> None:
        return None

    def run(self, operator: Any) -> Any:
        """Run a task to its end: where it defers, its trigger fires and the task resumes."""
        return self._finish(operator, partial(operator.execute, self.context_of(operator)))

    def resume(self, operator: Any, method: str, kwargs: dict[str, Any]) -> Any:
        """Run a task to its end from where a deferral has left it."""
        return self._finish(operator, partial(operator.resume_execution, method, kwargs, self.context_of(operator)))

    def _finish(self, operator: Any, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except TaskDeferred as deferred:
                self.deferrals += 1
                # Through JSON, as through Airflow's database.
                event = fire(deferred.trigger)
                kwargs = json.loads(json.dumps((deferred.kwargs or {}) | {"event": event}, default=str))
                context = self.context_of(operator)
                step = partial(operator.resume_execution, deferred.method_name, kwargs, context)

    def retry(self, after: float = 20.0) -> None:
        """Begin the next try; Airflow empties the XComs.

        :param after: the retry delay in seconds. Airflow's default is 5 minutes; 20 s are enough for the history to
            know what was submitted.
        """
        self.age(after)
        self.try_number += 1
        self.start_date = datetime.now(UTC)
        self.pushed.clear()

    def age(self, seconds: float) -> None:
        """Let so much time have passed since what the store says."""
        records = [
            each for value in self.store.values.values() for each in (value if isinstance(value, list) else [value])
        ]
        for record in records:
            for name in ("intended_at", "send_by", "sent_at", "submitted_at"):
                if record.get(name):
                    record[name] -= seconds

    def clear(self, *, keep_task_state: bool = True) -> None:
        """Do what a user's click on Clear does.

        :param keep_task_state: Airflow 3.4 asks for it, and does not without; others always do.
        """
        self.max_tries = self.try_number + self.wanted_by.retries
        if not keep_task_state:
            self.store.values.clear()
        self.retry()


def another_run(number: int = 2) -> FakeTaskInstance:
    """The same task in a run of another day."""
    ti = FakeTaskInstance()
    ti.run_id = f"scheduled__{number}"
    return ti


#: As the usual one, without its pauses: jobs of the sandbox are finished when they are accepted.
QUICK = PollPolicy(
    min_interval=0.01, max_interval=0.2, first_backoff=0.01, sweeps=SweepPolicy(min_interval=0.02, max_interval=0.2)
)


def fire(trigger: Any) -> Any:
    """Run a trigger as a triggerer would, from what it serializes to, and give its one event."""

    async def events() -> list[Any]:
        _, kwargs = trigger.serialize()
        fired = type(trigger)(**kwargs)
        if hasattr(fired, "poll_policy"):
            fired.poll_policy = QUICK
        return [event.payload async for event in fired.run()]

    (event,) = asyncio.run(events())
    return event


#: For images that are read: of a model that makes them as small as one likes, which takes a thirtieth of the time.
SMALL: dict[str, Any] = {"model": "kandinsky2.2-txt2img", "img_width": 64, "img_height": 64}


def paint(**arguments: Any) -> KandinskyTextToImageOperator:
    defaults = {"task_id": "paint", "dag": DAG("gallery"), "prompt": "a cat", "poll_interval": 0.01}
    operator = KandinskyTextToImageOperator(**defaults | arguments)
    operator.poll_policy = QUICK
    return operator


def paint_all(requests: Any, **arguments: Any) -> KandinskyTextToImageBatchOperator:
    defaults = {"task_id": "paint", "dag": DAG("gallery"), "poll_interval": 0.01}
    operator = KandinskyTextToImageBatchOperator(requests=requests, **defaults | arguments)
    operator.poll_policy = QUICK
    return operator


def cats(number: int) -> list[str]:
    return [f"cat {each}" for each in range(number)]
