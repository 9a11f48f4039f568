"""A batch whose requests render to something else in each process: what the try has begun with is all it submits."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

import pytest

from airflow_provider_kandinsky.batch.pin import Pin
from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.exceptions import BatchItemsFailedError, RequestsChangedError
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from ..support.airflow_names import TaskDeferred
from ..support.running_jobs import keep_running
from ..support.task_instance import FakeTaskInstance, cats, paint_all


class RendersAnew(KandinskyTextToImageBatchOperator):
    """As a template does that draws a number: each process that resumes has other requests."""

    renderings: Any = None

    def resume_execution(self, *arguments: Any) -> Any:
        self.requests = next(self.renderings)
        return super().resume_execution(*arguments)


def renders_anew(renderings: list[list[str]], **arguments: Any) -> RendersAnew:
    operator = paint_all(renderings[0], deferrable=True, **arguments)
    operator.__class__ = RendersAnew
    operator.renderings = itertools.cycle(renderings[1:])
    return operator


@pytest.mark.parametrize("durable", [True, False])
def test_nothing_more_is_submitted_and_what_was_is_delivered(
    sandbox: Sandbox, ti: FakeTaskInstance, durable: bool
) -> None:
    operator = renders_anew([["a 1", "a 2", "same"], ["a 3", "a 4", "same"]], durable=durable, max_in_flight=2)

    with pytest.raises(AirflowFailException, match=r"requests has changed since this try began: \[0\], \[1\] of 3"):
        ti.run(operator)

    assert sorted(job["payload"]["prompt"] for job in sandbox.submissions) == ["a 1", "a 2"]
    orphans = ti.pushed["orphans"]
    assert sorted(row["request_id"] for row in orphans) == sorted(job["request_id"] for job in sandbox.submissions)
    assert all(row["urls"] and row["error"] is None for row in orphans)
    assert ti.pushed["counts"] == {"items": 3, "succeeded": 0, "failed": 3, "reused": 0, "cost": 0.02}


def test_retries_pay_for_no_more_than_max_cost(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    numbers = itertools.count()
    for _ in range(10):
        operator = renders_anew([[f"a {next(numbers)}", f"a {next(numbers)}"] for _ in range(2)], max_cost=0.04)
        with pytest.raises(AirflowFailException):
            ti.run(operator)
        ti.clear()
    assert len(sandbox.submissions) == 4


def test_requests_that_cannot_be_read_any_more_lose_nothing(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    operator = renders_anew([["a 1", "a 2"], ["a 1", " "]])
    with pytest.raises(AirflowFailException, match="prompt=' ' is not allowed"):
        ti.run(operator)
    assert len(ti.pushed["orphans"]) == len(sandbox.submissions) == 2


def test_what_was_rendered_the_same_goes_on(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    operator = renders_anew([cats(5), cats(5)], max_in_flight=2)
    assert len(ti.run(operator)) == len(sandbox.submissions) == 5


def test_a_new_try_begins_with_what_is_rendered_then(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException):
        ti.run(renders_anew([["a 1"], ["a 2"]]))
    ti.clear()
    rows = ti.run(renders_anew([["a 1"], ["a 1"]]))
    assert rows[0]["urls"]
    assert len(sandbox.submissions) == 1


def test_a_retry_that_renders_other_requests_delivers_what_was_submitted(
    sandbox: Sandbox, ti: FakeTaskInstance
) -> None:
    """The first try has one image when it fails, and one that is not finished."""
    keep_running(sandbox)
    with pytest.raises(TaskDeferred):
        paint_all(["a 1"], deferrable=True).execute(ti.context)
    with pytest.raises(BatchItemsFailedError):
        ti.run(paint_all(["a 1", "a 2"], timeout=0.5))
    sandbox.clear_faults()
    sandbox.configure(latency=0)
    for _ in range(2):
        ti.retry()
        assert ti.run(paint_all(["a 3"]))[0]["urls"]
        jobs = [job["request_id"] for job in sandbox.submissions]
        assert [row["request_id"] for row in ti.pushed["orphans"]] == jobs[:2]
        assert all(row["urls"] and row["error"] is None for row in ti.pushed["orphans"])
        assert ti.pushed["counts"]["cost"] == 0.03
    assert len(sandbox.submissions) == 3
    ti.clear()
    ti.run(paint_all(["a 3"]))
    assert "orphans" not in ti.pushed


def items(keys: list[str]) -> list[Item]:
    return [Item(key, TextToImageRequest(prompt="a cat"), (place,)) for place, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (["a", "b", "d"], r"\[2\] of 3 \(now 3\)"),
        (["a", "b"], r"\[2\] of 3 \(now 2\)"),
        (["a", "b", "c", "d"], r"\[3\] of 3 \(now 4\)"),
        ([], r"\[0\], \[1\], \[2\] of 3 \(now 0\)"),
        ([*map(str, range(20))], r"\[9\] and 10 more of 3 \(now 20\)"),
    ],
)
def test_what_has_changed_is_named(now: list[str], named: str) -> None:
    with pytest.raises(RequestsChangedError, match=named):
        Pin.of(items(["a", "b", "c"]), 1).check(Pin.of(items(now), 1))


def test_a_large_batch_is_pinned_in_blocks() -> None:
    keys = [str(number) for number in range(10_000)]
    pin = Pin.of(items(keys), 1)
    assert len(str(asdict(pin))) < 60_000
    pin.check(from_stored(Pin, asdict(pin)))
    keys[5_000] = "other"
    with pytest.raises(RequestsChangedError, match=r"\[4998\] to \[5000\] of 10000"):
        pin.check(Pin.of(items(keys), 1))
