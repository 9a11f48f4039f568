"""What a new try of a batch does: every item submitted once, whatever became of the try before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.batch.submission import BatchSubmission
from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.durable.service import open_service
from airflow_provider_kandinsky.durable.stores import ledger_store_for
from airflow_provider_kandinsky.exceptions import BatchItemsFailedError, LedgerError
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import SMALL, FakeTaskInstance, cats, fire, paint_all

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def records(ti: FakeTaskInstance) -> list[dict[str, Any]]:
    chunks = [value for _, value in sorted(ti.store.values.items()) if isinstance(value, list)]
    return [record for chunk in chunks for record in chunk]


def payloads(sandbox: Sandbox) -> list[str]:
    return [str(job["payload"]) for job in sandbox.submissions]


class Killed(BaseException):
    """Where a worker dies."""


class DyingStore:
    """A store whose worker dies at its n-th write, before or after it."""

    def __init__(self, store: Any, writes: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, writes, after

    def get(self, key: str) -> Any:
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        if self._left >= 0:
            self._store.set(key, value)
        if self._left <= 0:
            raise Killed


@both_ways
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_a_worker_that_dies_at_any_write_submits_nothing_twice(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, writes: int, after: bool
) -> None:
    def in_groups_of_two() -> KandinskyTextToImageBatchOperator:
        operator = paint_all(cats(6), max_in_flight=5, deferrable=deferrable)
        operator.group_size = 2
        return operator

    store = ti.store
    ti.store = DyingStore(store, writes, after=after)  # type: ignore[assignment]  # as much of one as is used
    with pytest.raises(Killed):
        ti.run(in_groups_of_two())
    ti.store = store
    ti.retry()
    ti.age(100)

    rows = ti.run(in_groups_of_two())

    assert [row["error"] for row in rows] == [None] * 6
    assert len(sandbox.submissions) == len(set(payloads(sandbox))) == 6


@both_ways
def test_a_worker_that_dies_between_the_posts_and_the_record_submits_nothing_twice(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    ti.run(paint_all(cats(30), deferrable=deferrable))
    # As if the ids of the last group had never been written.
    for record in ti.store.values["kandinsky_batch_0001"][20:]:
        for name in ("request_id", "submitted_at", "result"):
            del record[name]
    ti.retry()
    pages = sandbox.count_calls("history")

    rows = ti.run(paint_all(cats(30), deferrable=deferrable))

    assert [row["error"] for row in rows] == [None] * 30
    assert len(sandbox.submissions) == 30
    # One scan for all ten, and a few sweeps where they are waited for.
    assert pages < sandbox.count_calls("history") < pages + 10


@both_ways
def test_a_retry_submits_only_what_failed(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    prompts = [f"[fail] {each}" if each % 10 == 0 else f"cat {each}" for each in range(30)]
    with pytest.raises(BatchItemsFailedError, match="3 of 30 items have failed, 27 are done"):
        ti.run(paint_all(prompts, deferrable=deferrable))
    assert len(sandbox.submissions) == 30
    polls = sandbox.count_calls("status")
    ti.retry()

    with pytest.raises(BatchItemsFailedError):
        ti.run(paint_all(prompts, deferrable=deferrable))

    again = [job["payload"]["prompt"] for job in sandbox.submissions[30:]]
    assert sorted(again) == sorted(prompt for prompt in prompts if "[fail]" in prompt)
    assert sandbox.count_calls("status") - polls < 10
    assert ti.pushed["counts"] == {"items": 30, "succeeded": 27, "failed": 3, "reused": 0, "cost": 0.27}


@both_ways
def test_what_is_done_is_given_again_without_a_poll(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    first = ti.run(paint_all(cats(20), deferrable=deferrable))
    calls = sandbox.count_calls()
    ti.clear()
    assert ti.run(paint_all(cats(20), deferrable=deferrable)) == first
    assert sandbox.count_calls() == calls


@both_ways
def test_what_was_in_flight_is_taken_up(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=60)
    with pytest.raises(BatchItemsFailedError, match="JobTimeoutError"):
        ti.run(paint_all(cats(5), timeout=0.3, deferrable=deferrable))
    ti.retry()
    with pytest.raises(BatchItemsFailedError, match="JobTimeoutError"):
        ti.run(paint_all(cats(5), timeout=0.3, deferrable=deferrable))
    assert len(sandbox.submissions) == 5


def test_a_row_more_leaves_the_others_what_they_are(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    first = ti.run(paint_all(cats(45)))
    ti.clear()
    second = ti.run(paint_all(["a dog", *cats(45)]))
    assert second[1:] == first
    assert len(sandbox.submissions) == 46


@both_ways
def test_blocked_content_is_not_submitted_again(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    for begin_again in (ti.retry, ti.clear, ti.retry):
        with pytest.raises(AirflowFailException, match="blocked"):
            ti.run(paint_all(["a cat", "[blocked]"], deferrable=deferrable))
        begin_again()
    assert len(sandbox.submissions) == 2


def test_a_clear_asks_for_new_images_only_of_random_seeds(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    rows = [{"prompt": "a cat", "seed": seed} for seed in (-1, -1, 7)]
    first = ti.run(paint_all(rows))
    ti.retry()
    assert ti.run(paint_all(rows)) == first
    ti.clear()
    second = ti.run(paint_all(rows))
    assert [one["request_id"] == other["request_id"] for one, other in zip(first, second, strict=True)] == [
        False,
        False,
        True,
    ]
    assert len(sandbox.submissions) == 5


@both_ways
def test_a_job_of_an_earlier_try_that_failed_is_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    with pytest.raises(TaskDeferred):
        paint_all(["[fail]"], deferrable=True).execute(ti.context)
    ti.retry()
    with pytest.raises(BatchItemsFailedError):
        ti.run(paint_all(["[fail]"], deferrable=deferrable))
    assert len(sandbox.submissions) == 2


@both_ways
def test_expired_jobs_are_found_in_the_history(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=0)
    with pytest.raises(TaskDeferred):
        paint_all(cats(3), deferrable=True, samples=2).execute(ti.context)
    sandbox.configure(expiry=0)
    ti.retry(after=3600)
    rows = ti.run(paint_all(cats(3), samples=2, deferrable=deferrable))
    assert [len(row["urls"]) for row in rows] == [2, 2, 2]
    assert len(sandbox.submissions) == 3


def test_expired_jobs_without_a_history_are_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    with pytest.raises(TaskDeferred):
        paint_all(cats(3), deferrable=True).execute(ti.context)
    sandbox.fault("status", status=404, times=3)
    ti.retry(after=3600)
    assert len(ti.run(paint_all(cats(3)))) == 3
    assert len(sandbox.submissions) == 6


@both_ways
def test_lost_responses_are_found_in_the_history_by_the_same_try(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("submit", drop=True, after=True, times=7)
    rows = ti.run(paint_all(cats(30), deferrable=deferrable))
    assert [row["error"] for row in rows] == [None] * 30
    assert len(sandbox.submissions) == sandbox.count_calls("submit") == 30
    assert len({row["request_id"] for row in rows}) == 30


@both_ways
def test_submissions_that_never_arrived_are_made_by_the_next_try(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("submit", drop=True, times=3)
    with pytest.raises(BatchItemsFailedError, match=r"3 of 30.*SubmissionUnknownError.*A retry goes on with the 3"):
        ti.run(paint_all(cats(30), deferrable=deferrable))
    ti.retry()
    assert len(ti.run(paint_all(cats(30), deferrable=deferrable))) == 30
    assert len(sandbox.submissions) == 30


def test_submitting_ends_where_no_submission_is_accepted(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    """Each may be accepted and billed; ten thousand of them would be an hour of that."""
    sandbox.configure(history_lag=60)
    sandbox.fault("submit", drop=True, after=True, stall=0.2, times=1_000)
    items = [Item(f"k{seed}", TextToImageRequest(prompt="a cat", seed=seed), (seed,)) for seed in range(100)]
    state = BatchState(
        items, BatchLedger.read(ti.context, ledger_store_for(ti.context, durable=True), {}), JobMetrics.of_task(ti)
    )
    with open_service("kandinsky_default", DEFAULT_MODEL) as service:
        submission = BatchSubmission(state, service, group_size=20, longest_submission=0.3)
        assert submission.submit_up_to(100) == []
    assert "no submission was accepted within" in str(submission.stopped)
    assert 0 < len(sandbox.submissions) < 100
    assert {record.get("error", {}).get("type") for record in records(ti)} == {"SubmissionUnknownError"}


def test_random_images_whose_responses_were_lost_are_each_given_to_one_item(
    sandbox: Sandbox, ti: FakeTaskInstance
) -> None:
    sandbox.fault("submit", drop=True, after=True, times=3)
    rows = ti.run(paint_all([{"prompt": "a cat", "seed": -1}] * 5))
    assert len({row["request_id"] for row in rows}) == len(sandbox.submissions) == 5


@pytest.mark.parametrize("way", ["fail", "resubmit"])
def test_intents_that_the_history_cannot_resolve_fail_or_are_submitted_again_as_asked(
    sandbox: Sandbox, ti: FakeTaskInstance, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    sandbox.fault("submit", drop=True, after=True, times=2)
    with pytest.raises(BatchItemsFailedError):
        ti.run(paint_all(cats(5)))
    ti.retry()
    if way == "fail":
        with pytest.raises(AirflowFailException, match="An earlier try may have submitted this"):
            ti.run(paint_all(cats(5)))
        assert len(sandbox.submissions) == 5
    else:
        assert len(ti.run(paint_all(cats(5), on_unknown_submit="resubmit"))) == 5
        assert len(sandbox.submissions) == 7


@both_ways
def test_an_image_that_could_not_be_stored_is_fetched_again_and_not_submitted(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("image", status=404, times=2)
    with pytest.raises(BatchItemsFailedError, match=r"2 of 10.*ImageUnavailableError"):
        ti.run(paint_all(cats(10), output_path=f"file://{tmp_path}", deferrable=deferrable, **SMALL))
    polls = sandbox.count_calls("status")
    ti.retry()
    rows = ti.run(paint_all(cats(10), output_path=f"file://{tmp_path}", deferrable=deferrable, **SMALL))
    assert all(row["error"] is None for row in rows)
    assert len(list(tmp_path.glob("*.png"))) == 10
    assert len(sandbox.submissions) == 10
    assert sandbox.count_calls("status") == polls
    assert sandbox.count_calls("image") == 12


def test_another_output_path_stores_again(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    ti.run(paint_all(cats(2), output_path=f"file://{tmp_path}/old"))
    ti.clear()
    rows = ti.run(paint_all(cats(2), output_path=f"file://{tmp_path}/new"))
    assert all(row["urls"][0].startswith(f"file://{tmp_path}/new/") for row in rows)
    assert len(sandbox.submissions) == 2


def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    ti.store.values["kandinsky_batch_0001"] = [{"written": "by another program"}]
    with pytest.raises(LedgerError, match="Nothing was submitted"):
        ti.run(paint_all(cats(2)))
    assert sandbox.count_calls() == 0


@pytest.mark.heavy  # so many jobs that writing all of them together would show
def test_no_write_grows_with_the_batch_and_there_are_few(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sizes: list[int] = []
    keep = ti.store.set

    def measure(key: str, value: Any) -> None:
        sizes.append(len(str(value)))
        keep(key, value)

    ti.store.set = measure  # type: ignore[method-assign]  # to record it
    ti.run(paint_all(cats(200), max_in_flight=100, deferrable=True))
    assert max(sizes) < 30_000
    assert len(sizes) < 35


def test_the_ledger_holds_no_prompt_and_no_key(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    ti.run(paint_all(["a secret garden"], deferrable=True))
    assert "garden" not in str(ti.store.values)
    assert sandbox.api_key not in str(ti.store.values)
    assert len(records(ti)) == 1


def test_the_progress_is_there_to_be_read(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    operator = paint_all(cats(10), max_in_flight=4, deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(ti.context)
    assert ti.store.values["kandinsky_batch"] == {
        "items": 10, "succeeded": 0, "failed": 0, "in_flight": 4, "cost": 0.0,
    }  # fmt: skip
    with pytest.raises(TaskDeferred):
        operator.execute_complete(ti.context, event=fire(deferral.value.trigger))
    assert ti.store.values["kandinsky_batch"] == {
        "items": 10, "succeeded": 4, "failed": 0, "in_flight": 4, "cost": 0.04,
    }  # fmt: skip


@both_ways
def test_without_durable_a_try_submits_each_item_once_and_the_next_one_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    for tries in (1, 2):
        rows = ti.run(paint_all(cats(10), durable=False, max_in_flight=4, deferrable=deferrable))
        assert [row["error"] for row in rows] == [None] * 10
        assert len(sandbox.submissions) == 10 * tries
        ti.retry()
    assert ti.store.values == {}


def test_without_durable_a_deferral_that_loses_what_it_carries_does_not_submit_again(
    sandbox: Sandbox, ti: FakeTaskInstance
) -> None:
    operator = paint_all(cats(3), durable=False, deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(ti.context)
    event = fire(deferral.value.trigger)
    with pytest.raises(AirflowFailException, match=r"lost on the way through its deferral \(as in dag\.test\(\)\)"):
        operator.resume_execution("execute_complete", {"event": event}, ti.context)
    assert len(sandbox.submissions) == 3
