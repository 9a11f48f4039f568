"""Many generations in one task, in the worker and deferred."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from task_instance import TaskInstance, paint_all

from airflow_provider_kandinsky.batch.delivery import BatchItemsFailedError
from airflow_provider_kandinsky.sandbox.handle import Sandbox

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def cats(number: int) -> list[str]:
    return [f"cat {each}" for each in range(number)]


@both_ways
def test_results_come_in_the_order_of_the_items(sandbox: Sandbox, ti: TaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=(0, 0.3))
    rows = ti.run(paint_all(cats(30), max_in_flight=12, samples=2, deferrable=deferrable))

    bought = {job["payload"]["prompt"]: job for job in sandbox.submissions}
    assert len(sandbox.submissions) == len(rows) == 30
    for row, prompt in zip(rows, cats(30), strict=True):
        request_id = bought[prompt]["request_id"]
        assert row == {
            "urls": [f"{sandbox.url}/generations/{request_id}-{index}.png" for index in range(2)],
            "request_id": request_id,
            "seed": bought[prompt]["payload"]["seed"],
            "cost": 0.02,
            "error": None,
        }
    assert ti.pushed == {"counts": {"items": 30, "succeeded": 30, "failed": 0, "cost": 0.6}}
    assert ti.deferrals == (3 if deferrable else 0)
