"""Images that came as bytes are fetched once more, by a worker: a refusal there does not lose what was paid for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import QUICK, SMALL, FakeTaskInstance, fire, paint, paint_all

#: One image, and a batch of one.
OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all(["a cat"], **arguments),
}

refused = pytest.mark.parametrize("status", [401, 403, 402, 503, 429])


@pytest.fixture
def ti() -> FakeTaskInstance:
    return FakeTaskInstance()


def resume_refused(sandbox: Sandbox, ti: FakeTaskInstance, task: Any, status: int) -> Any:
    """Run a task whose result the service refuses once, when its worker asks for it."""
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(ti.context_of(task))
    event = fire(deferral.value.trigger)
    sandbox.fault("result", status=status)
    kwargs = (deferral.value.kwargs or {}) | {"event": event}
    return ti.resume(task, deferral.value.method_name, kwargs)


@pytest.mark.parametrize("paints", OPERATORS)
@refused
def test_an_operator_asks_again(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, paints: str, status: int
) -> None:
    arguments: dict[str, Any] = SMALL | {"base64": True, "output_path": f"file://{tmp_path}", "deferrable": True}
    rows = resume_refused(sandbox, ti, OPERATORS[paints](**arguments), status)
    assert len(rows) == 1
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert len(sandbox.submissions) == 1


@refused
def test_a_sensor_asks_again(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, status: int) -> None:
    request_id = ti.run(
        paint(base64=True, output_path=f"file://{tmp_path}", wait_for_completion=False, deferrable=False, **SMALL)
    )
    sensor = KandinskyJobSensor(
        task_id="wait",
        dag=DAG("gallery"),
        request_id=request_id,
        output_path=f"file://{tmp_path}",
        deferrable=True,
        timeout=60,
    )
    sensor.poll_policy = QUICK
    assert len(resume_refused(sandbox, ti, sensor, status)) == 1
