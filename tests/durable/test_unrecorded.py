"""Airflow 3.4 discards the task state store when a task is cleared. What the task has paid for, the history knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import SubmissionUnknownError

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, cats, paint, paint_all
from .test_batch_paid_once import DyingStore, Killed, both_ways
from .test_cleared import OPERATORS, urls

each_kind = pytest.mark.parametrize("kind", OPERATORS)


def clear(ti: FakeTaskInstance, after: float = 20.0) -> None:
    """Clear the task; its next try begins so many seconds before now that the history knows all of the last one."""
    ti.clear(keep_task_state=False)
    ti.start_date -= timedelta(seconds=after)
    ti.run_after -= timedelta(seconds=2 * after)


@each_kind
@both_ways
@pytest.mark.parametrize("seed", [None, 7], ids=["own seed", "given seed"])
def test_a_cleared_task_gets_what_was_paid_for(
    sandbox: Sandbox, ti: FakeTaskInstance, kind: str, deferrable: bool, seed: int | None
) -> None:
    first = ti.run(OPERATORS[kind](deferrable=deferrable, seed=seed))
    clear(ti)
    assert urls(ti.run(OPERATORS[kind](deferrable=deferrable, seed=seed))) == urls(first)
    assert len(sandbox.submissions) == 1
    # From then on there is a record again.
    ti.clear()
    calls = sandbox.count_calls("history")
    assert urls(ti.run(OPERATORS[kind](deferrable=deferrable, seed=seed))) == urls(first)
    assert (len(sandbox.submissions), sandbox.count_calls("history")) == (1, calls)


@each_kind
def test_a_task_that_is_cleared_while_it_is_deferred_waits_for_its_job(
    sandbox: Sandbox, ti: FakeTaskInstance, kind: str
) -> None:
    sandbox.configure(latency=0.3)
    operator = OPERATORS[kind](deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context_of(operator))
    clear(ti)
    assert len(urls(ti.run(OPERATORS[kind](deferrable=True)))) == 1
    assert len(sandbox.submissions) == 1


@each_kind
@both_ways
def test_what_is_stored_is_not_searched_for_in_the_history(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, kind: str, deferrable: bool
) -> None:
    reused: dict[str, Any] = {"output_path": f"file://{tmp_path}", "reuse": True, "deferrable": deferrable}
    first = ti.run(OPERATORS[kind](**reused))
    clear(ti)
    sandbox.fault("history", status=403, times=5)
    assert urls(ti.run(OPERATORS[kind](**reused))) == urls(first)
    assert len(sandbox.submissions) == 1


def test_an_expired_job_is_delivered_from_the_history(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    first = ti.run(paint())
    clear(ti)
    sandbox.configure(expiry=0)
    assert ti.run(paint()) == first
    assert len(sandbox.submissions) == 1


@each_kind
def test_other_arguments_are_another_image(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    """The seed is the task's own in both; that the earlier row has it must not make the new one doubtful."""
    paints: Callable[..., Any] = paint if kind == "single" else lambda prompt: paint_all([prompt])
    first = ti.run(paints(prompt="a cat"))
    clear(ti)
    assert set(urls(ti.run(paints(prompt="a dog")))).isdisjoint(urls(first))
    assert len(sandbox.submissions) == 2


@each_kind
def test_a_random_seed_is_another_image(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    ti.run(OPERATORS[kind](seed=-1))
    clear(ti)
    ti.run(OPERATORS[kind](seed=-1))
    assert len(sandbox.submissions) == 2


@each_kind
def test_what_was_refused_is_submitted(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    sandbox.fault("submit", status=401)
    with pytest.raises(Exception, match="rejected the API key"):
        ti.run(OPERATORS[kind]())
    clear(ti)
    assert len(urls(ti.run(OPERATORS[kind]()))) == 1
    assert len(sandbox.submissions) == 1


@each_kind
def test_what_failed_was_not_paid_and_is_submitted_again(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    sandbox.configure(jobs_fail=True)
    with pytest.raises(Exception, match="failed"):
        ti.run(OPERATORS[kind]())
    sandbox.configure(jobs_fail=False)
    clear(ti)
    assert len(urls(ti.run(OPERATORS[kind]()))) == 1
    assert len(sandbox.submissions) == 2


@each_kind
def test_nothing_is_submitted_while_the_history_cannot_be_asked(
    sandbox: Sandbox, ti: FakeTaskInstance, kind: str
) -> None:
    first = ti.run(OPERATORS[kind]())
    clear(ti)
    sandbox.fault("history", status=403, times=100)
    with pytest.raises(Exception, match=SubmissionUnknownError.__name__ if kind == "batch" else "does not say"):
        ti.run(OPERATORS[kind]())
    assert len(sandbox.submissions) == 1
    sandbox.clear_faults()
    ti.clear()
    assert urls(ti.run(OPERATORS[kind]())) == urls(first)
    assert len(sandbox.submissions) == 1


@each_kind
def test_the_user_decides_what_the_history_cannot(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    ti.run(OPERATORS[kind]())
    clear(ti)
    sandbox.fault("history", status=403, times=100)
    ti.run(OPERATORS[kind](on_unknown_submit="resubmit"))
    assert len(sandbox.submissions) == 2


@each_kind
def test_without_a_history_a_clear_submits(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    ti.run(OPERATORS[kind]())
    clear(ti)
    ti.run(OPERATORS[kind]())
    assert len(sandbox.submissions) == 2
    assert "The task was cleared, and nothing records what it submitted before" in caplog.text


@both_ways
def test_of_a_batch_only_what_is_not_in_the_history_is_submitted(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    ti.run(paint_all(cats(12), deferrable=deferrable))
    clear(ti)
    rows = ti.run(paint_all(cats(20), deferrable=deferrable))
    assert [row["error"] for row in rows] == [None] * 20
    assert len(sandbox.submissions) == len({str(job["payload"]) for job in sandbox.submissions}) == 20


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("writes", [1, 2, 3, 4])
def test_a_worker_that_dies_while_it_records_what_it_found_submits_nothing_twice(
    sandbox: Sandbox, ti: FakeTaskInstance, writes: int, after: bool
) -> None:
    # In two chunks: the pinned requests, the one, the other, the progress.
    first = paint_all(cats(41), deferrable=True)
    with pytest.raises(TaskDeferred):
        first.execute(ti.context_of(first))
    clear(ti)
    store = ti.store
    ti.store = DyingStore(store, writes, after=after)  # type: ignore[assignment]  # as much of one as is used
    with pytest.raises(Killed):
        ti.run(paint_all(cats(41), deferrable=False))
    ti.store = store
    ti.retry()
    rows = ti.run(paint_all(cats(41), deferrable=False))
    assert [row["error"] for row in rows] == [None] * 41
    assert len(sandbox.submissions) == 41


def test_a_task_that_was_never_cleared_asks_nothing(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=503, times=100)
    with pytest.raises(Exception, match="503"):
        ti.run(paint(deferrable=False))
    sandbox.clear_faults()
    ti.store.values.clear()
    ti.retry()
    calls = sandbox.count_calls("history")
    ti.run(paint(deferrable=False))
    assert sandbox.count_calls("history") == calls


def test_what_is_reused_is_not_recorded_before_the_history_was_asked(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path
) -> None:
    """Else a worker that dies between the two leaves a ledger that lacks what was paid for."""
    arguments: dict[str, Any] = {"output_path": f"file://{tmp_path}", "reuse": True}
    first = ti.run(paint_all(cats(6), **arguments))
    for row in first[3:]:
        Path(row["urls"][0].removeprefix("file://")).unlink()
    clear(ti)
    store = ti.store
    ti.store = DyingStore(store, 2, after=True)  # type: ignore[assignment]  # as much of one as is used
    with pytest.raises(Killed):
        ti.run(paint_all(cats(6), **arguments))
    ti.store = store
    ti.retry()
    rows = ti.run(paint_all(cats(6), **arguments))
    assert [row["error"] for row in rows] == [None] * 6
    assert len(sandbox.submissions) == 6
