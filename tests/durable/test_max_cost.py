"""``max_cost`` of one generation: where a retry or a clear may submit again, it does so only up to a limit."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.errors import CostLimitError
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import BadRequestError, JobFailedError

from ..support.task_instance import FakeTaskInstance, paint


def test_a_clear_submits_up_to_the_limit(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    arguments: dict[str, Any] = {"seed": -1, "max_cost": 0.02}
    ti.run(paint(**arguments))
    ti.clear()
    ti.run(paint(**arguments))
    ti.clear()
    with pytest.raises(AirflowFailException) as caught:
        ti.run(paint(**arguments))
    assert isinstance(caught.value.__cause__, CostLimitError)
    assert str(caught.value.__cause__).startswith(
        "It was not submitted again, because the costs so far, $0.02, have reached max_cost=0.02 [billed: no]"
    )
    assert len(sandbox.submissions) == 2
    ti.clear()
    assert ti.run(paint(seed=-1, max_cost=0.03))


def test_what_failed_was_not_billed(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    for _ in range(3):
        with pytest.raises(JobFailedError):
            ti.run(paint(prompt="[fail]", max_cost=0.001))
        ti.retry()
    assert len(sandbox.submissions) == 3


def test_a_re_attach_costs_nothing(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    first = ti.run(paint(max_cost=0.01))
    ti.retry()
    assert ti.run(paint(max_cost=0.01)) == first
    assert sandbox.count_calls("history") == 0


def test_a_history_that_cannot_be_asked_lets_nothing_through(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti.run(paint(seed=-1, max_cost=1))
    ti.clear()
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    with pytest.raises(AirflowFailException, match="There is no request history"):
        ti.run(paint(seed=-1, max_cost=1))
    assert len(sandbox.submissions) == 1


@pytest.mark.parametrize("dollars", [0, -1, float("nan")])
def test_no_dollars_are_no_limit(dollars: float) -> None:
    with pytest.raises(AirflowFailException, match=r"max_cost=.* a number of dollars above 0") as caught:
        paint(max_cost=dollars)
    assert isinstance(caught.value.__cause__, BadRequestError)
