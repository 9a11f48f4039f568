"""A key that dies while a batch is waited for fails the task, also where the failures of items are kept."""

from __future__ import annotations

import pytest

from airflow_provider_kandinsky.batch.errors import BatchItemsFailedError
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import JobTimeoutError, error_from_dict

from ..support.task_instance import FakeTaskInstance, cats, paint_all

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@both_ways
@pytest.mark.parametrize("status", [401, 402, 403])
def test_it_fails_a_batch_that_keeps_failures(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, status: int
) -> None:
    sandbox.fault("history", status=status, times=1000)
    sandbox.fault("status", status=status, times=1000)
    with pytest.raises(BatchItemsFailedError, match="the last poll failed") as failure:
        ti.run(paint_all(cats(2), on_item_failure="keep", timeout=0.3, deferrable=deferrable))
    assert failure.value.retryable
    sandbox.clear_faults()
    ti.retry()
    rows = ti.run(paint_all(cats(2), on_item_failure="keep", deferrable=deferrable))
    assert [row["error"] for row in rows] == [None, None]
    assert len(sandbox.submissions) == 2


@both_ways
def test_an_item_that_takes_too_long_is_kept(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=60)
    rows = ti.run(paint_all(cats(2), on_item_failure="keep", timeout=0.3, deferrable=deferrable))
    assert [row["error"]["type"] for row in rows] == ["JobTimeoutError"] * 2


def test_the_reason_travels_with_the_error() -> None:
    for concerns_account in (False, True):
        error = JobTimeoutError("late", request_id="r-1")
        error.concerns_account = concerns_account
        assert error_from_dict(error.to_dict()).concerns_account is concerns_account
