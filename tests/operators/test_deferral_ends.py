"""A deferral that ends by itself: a trigger that cannot start, a limit that never resets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_kandinsky.operators._runtime import defer_until_reset
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.rate_limit import SUBMIT_RESUME_DELAY, SUBMIT_RESUME_SPREAD
from airflow_provider_kandinsky.tasks.deferral import MAX_RESETS
from airflow_provider_kandinsky.triggers.min_lifetime import MIN_TRIGGER_LIFETIME

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, cats, paint, paint_all

#: One image, and a batch of two.
OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all(cats(2), **arguments),
}
both = pytest.mark.parametrize("kind", OPERATORS)


def resume_broken(ti: FakeTaskInstance, operator: Any, error: str) -> Any:
    """What Airflow does with a task whose trigger could not be started, or whose deferral has timed out."""
    context = ti.context_of(operator)
    return operator.resume_execution("__fail__", {"error": error, "traceback": ["boom"]}, context)


@both
def test_a_trigger_that_cannot_start_does_not_give_the_job_up(
    sandbox: Sandbox, ti: FakeTaskInstance, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=""))
    sandbox.fault("status", body={"status": "PROCESSING"}, times=4)
    operator = OPERATORS[kind](deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context_of(operator))

    result = resume_broken(ti, operator, "Trigger failed")

    assert len(result) == len(sandbox.submissions) == (1 if kind == "single" else 2)
    assert sandbox.count_calls("status") > 4


@both
def test_it_waits_no_longer_than_the_trigger_would_have(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    sandbox.configure(latency=60)
    operator = OPERATORS[kind](deferrable=True, timeout=1)
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context_of(operator))
    with pytest.raises(Exception, match=r"was not finished \d+ s after its submission"):
        resume_broken(ti, operator, "Trigger failed")
    assert len(sandbox.submissions) == (1 if kind == "single" else 2)


@pytest.mark.parametrize(
    ("retry_after", "at_least"),
    [
        (0.0, MIN_TRIGGER_LIFETIME),
        (2.0, MIN_TRIGGER_LIFETIME),
        (30.0, 30.0),
        (None, 60.0),
        (1e308, 60.0),
        (2.5e11, 60.0),
        (float("inf"), 60.0),
    ],
)
def test_a_reset_is_believed_within_bounds(retry_after: float | None, at_least: float) -> None:
    error = RateLimitedError("Rate limited", retry_after=retry_after)
    with pytest.raises(TaskDeferred) as deferral:
        defer_until_reset(paint(deferrable=True), error, 0, {})
    wait = (deferral.value.trigger.moment - datetime.now(UTC)).total_seconds()
    assert at_least - 1 < wait <= at_least + SUBMIT_RESUME_DELAY + SUBMIT_RESUME_SPREAD


def run_through_resets(ti: FakeTaskInstance, operator: Any) -> int:
    """Let every reset come.

    :return: how many there were before the task failed.
    """
    context, kwargs, resets = ti.context_of(operator), None, 0
    while True:
        try:
            if kwargs is None:
                operator.execute(context)
            else:
                operator.resume_execution("execute_after_reset", kwargs | {"event": None}, context)
        except TaskDeferred as deferred:
            kwargs, resets = deferred.kwargs or {}, resets + 1
        except RateLimitedError:
            return resets


@both
def test_a_limit_that_never_resets_is_not_waited_for_without_end(
    sandbox: Sandbox, ti: FakeTaskInstance, kind: str
) -> None:
    sandbox.fault("submit", status=429, headers={"retry-after": "30"}, times=10_000)
    assert run_through_resets(ti, OPERATORS[kind](deferrable=True)) == MAX_RESETS
    assert sandbox.submissions == []
