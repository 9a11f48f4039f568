"""A batch keeps its jobs in flight: a straggler holds nothing, and a lost or repeated hand-over costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import SMALL, FakeTaskInstance, cats, fire, paint_all

durably_and_not = pytest.mark.parametrize("durable", [True, False])


def deferral(step: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        step()
    return deferred.value


def waits_for(deferred: TaskDeferred) -> set[str]:
    _, kwargs = deferred.trigger.serialize()
    return {job["request_id"] for job in kwargs["jobs"]}


class Deferred:
    """A deferrable batch, one process at a time.

    :param more: arguments of the operator.
    """

    def __init__(self, ti: FakeTaskInstance, requests: Any, **more: Any) -> None:
        self._ti = ti
        self._make = lambda: paint_all(requests, deferrable=True, **more)
        self.last = deferral(lambda: self._make().execute(ti.context_of(self._make())))

    def hand_over(self) -> dict[str, Any]:
        """What the trigger fires with, through JSON as through Airflow's database."""
        event: dict[str, Any] = json.loads(json.dumps(fire(self.last.trigger)))
        return event

    def resume(self, event: dict[str, Any]) -> TaskDeferred:
        """Resume in a new process, which defers again."""
        operator: KandinskyTextToImageBatchOperator = self._make()
        kwargs = json.loads(json.dumps((self.last.kwargs or {}) | {"event": event}))
        self.last = deferral(
            lambda: operator.resume_execution(self.last.method_name, kwargs, self._ti.context_of(operator))
        )
        return self.last

    def finish(self) -> Any:
        """Run to the end."""
        kwargs = (self.last.kwargs or {}) | {"event": self.hand_over()}
        return self._ti.resume(self._make(), self.last.method_name, json.loads(json.dumps(kwargs)))


@pytest.fixture
def straggling(sandbox: Sandbox) -> Sandbox:
    """Of the first ten jobs two take longer than a test."""
    sandbox.configure(latency=0, straggler_share=0.2, straggler_latency=600, seed=1)
    return sandbox


def release(sandbox: Sandbox) -> None:
    """From now on no job straggles."""
    sandbox.configure(straggler_share=0)


@durably_and_not
def test_the_others_are_stored_and_the_next_submitted_while_a_straggler_runs(
    straggling: Sandbox, ti: FakeTaskInstance, durable: bool, tmp_path: Path
) -> None:
    batch = Deferred(ti, cats(25), max_in_flight=10, output_path=f"file://{tmp_path}", durable=durable, **SMALL)
    first = waits_for(batch.last)
    release(straggling)

    event = batch.hand_over()
    late = first - set(event["outcomes"])
    assert len(late) == 2
    batch.resume(event)

    assert len(waits_for(batch.last)) == 10
    assert late < waits_for(batch.last)
    assert len(straggling.submissions) == 18
    assert len(list(tmp_path.glob("*.png"))) == 8
    assert all(ObjectStoragePath(f"file://{each}").exists() for each in tmp_path.glob("*.png"))


@durably_and_not
def test_a_hand_over_that_is_delivered_twice_submits_nothing_twice(
    straggling: Sandbox, ti: FakeTaskInstance, durable: bool
) -> None:
    """The second time to a process that has what the first one has left."""
    batch = Deferred(ti, cats(25), max_in_flight=10, durable=durable)
    release(straggling)
    event = batch.hand_over()
    assert len(event["outcomes"]) == 8
    batch.resume(event)
    jobs, submissions = waits_for(batch.last), len(straggling.submissions)

    batch.resume(event)

    assert waits_for(batch.last) == jobs
    assert len(straggling.submissions) == submissions


@durably_and_not
@pytest.mark.parametrize("outcomes", [{}, {"unknown": {"result": {"request_id": "unknown", "urls": []}}}])
def test_a_hand_over_that_is_lost_loses_no_job(
    sandbox: Sandbox, ti: FakeTaskInstance, durable: bool, outcomes: dict[str, Any]
) -> None:
    sandbox.configure(latency=0)
    batch = Deferred(ti, cats(12), max_in_flight=10, durable=durable)
    first = waits_for(batch.last)
    batch.hand_over()
    batch.resume({"outcomes": outcomes})
    assert waits_for(batch.last) == first
    assert [row["error"] for row in batch.finish()] == [None] * 12
    assert len(sandbox.submissions) == 12


def test_a_trigger_that_starts_again_hands_over_the_same(straggling: Sandbox, ti: FakeTaskInstance) -> None:
    batch = Deferred(ti, cats(25), max_in_flight=10)
    assert len(batch.hand_over()["outcomes"]) == 8
    assert batch.hand_over()["outcomes"].keys() == batch.hand_over()["outcomes"].keys()


def test_a_retry_waits_for_the_straggler_of_the_try_before(straggling: Sandbox, ti: FakeTaskInstance) -> None:
    """The worker that applied a hand-over has died, after it had submitted again."""
    batch = Deferred(ti, cats(25), max_in_flight=10)
    release(straggling)
    event = batch.hand_over()
    late = waits_for(batch.last) - set(event["outcomes"])
    assert len(late) == 2
    batch.resume(event)
    ti.retry()

    again = Deferred(ti, cats(25), max_in_flight=10)

    assert late < waits_for(again.last)
    assert len(waits_for(again.last)) == 10
    assert len(straggling.submissions) == 18


def test_while_nothing_more_is_to_be_submitted_all_are_waited_for(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    batch = Deferred(ti, cats(3), max_in_flight=10)
    _, kwargs = batch.last.trigger.serialize()
    assert kwargs["hand_over"] == {}


def test_room_that_a_refusal_leaves_is_filled_though_a_straggler_runs(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.configure(latency=600)
    sandbox.fault("submit", status=429, headers={"retry-after": "30"}, times=3)
    batch = Deferred(ti, cats(20), max_in_flight=5)
    (job, *_), hand_over = batch.last.trigger.jobs, batch.last.trigger.serialize()[1]["hand_over"]
    assert len(waits_for(batch.last)) == 2
    assert 30 <= hand_over["wake_at"] - job.submitted_at < 60


@pytest.mark.heavy  # its straggler has to outlast the submission of all others
def test_in_the_worker_a_straggler_holds_nothing(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are submitted before the first straggler ends."""
    # Without a history, so that the call for a result says when its job has ended.
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=""))
    sandbox.configure(latency=0, straggler_share=0.1, straggler_latency=15, seed=1)
    rows = ti.run(paint_all(cats(30), max_in_flight=10))

    assert [row["error"] for row in rows] == [None] * 30
    submitted = {job["request_id"]: job["at"] for job in sandbox.submissions}
    assert len(submitted) == 30
    stragglers = [each["at"] for each in sandbox.calls("result") if each["at"] - submitted[each["request_id"]] > 14]
    assert stragglers
    assert max(submitted.values()) < min(stragglers)
