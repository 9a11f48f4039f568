"""``daily_budget``: what is spent and in flight is held against it before each submission, single or batch."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.budget import DailyBudget
from airflow_provider_kandinsky.durable.errors import BudgetExceededError
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.exceptions import ServiceUnavailableError
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.errors import ConfigurationError, error_from_dict
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.tasks.deferral import day_end, defer_until

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, cats, paint, paint_all

PRICE = 0.01
DAY = 86_400


@pytest.fixture
def ti() -> FakeTaskInstance:
    return FakeTaskInstance()


def limit(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, dollars: float, **extra: Any) -> None:
    connection = sandbox.connection(daily_budget=dollars, **{"retry_timeout": 0} | extra)
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", connection)


def spend(sandbox: Sandbox, images: int, **request: Any) -> None:
    """Finished generations, whose price is in the history."""
    with KandinskyHook() as hook:
        jobs = [hook.submit({"prompt": f"earlier {number}", **request}) for number in range(images)]
        for job in jobs:
            hook.get_result(job.request_id)


def made(sandbox: Sandbox) -> int:
    return sandbox.count_calls("submit")


def task(number: int = 0) -> FakeTaskInstance:
    ti = FakeTaskInstance()
    ti.map_index = number
    return ti


# A single generation.


def test_over_the_budget_nothing_is_sent(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 2)
    limit(sandbox, monkeypatch, 2 * PRICE)
    with pytest.raises(AirflowFailException) as caught:
        ti.run(paint())
    error = caught.value.__cause__
    assert isinstance(error, BudgetExceededError)
    today = time.time() // DAY * DAY
    assert error.until in (today, today + DAY)  # it may have been midnight since
    until = datetime.fromtimestamp(error.until or 0, UTC).isoformat(timespec="minutes")
    assert str(error) == (
        "The daily budget is used up: $0.02 of daily_budget=0.02 dollars are spent or in flight, and this would be "
        f"$0.01. Nothing was submitted for it; the day ends at {until} [billed: no] No retry before that can cure it, "
        "so there is none; clear the task then."
    )
    assert made(sandbox) == 2
    assert ti.store.values == {}
    assert ti.pushed["error"]["type"] == "BudgetExceededError"


def test_the_last_one_fits_exactly(sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(sandbox, 2)
    limit(sandbox, monkeypatch, 3 * PRICE)
    assert ti.run(paint())
    assert made(sandbox) == 3


def test_what_is_in_flight_counts_at_the_known_price(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 1)
    sandbox.configure(latency=60)
    with KandinskyHook() as hook:
        hook.submit({"prompt": "not finished"})
    limit(sandbox, monkeypatch, 2 * PRICE)
    with pytest.raises(AirflowFailException, match=r"\$0.02 of daily_budget=0.02 dollars are spent or in flight"):
        ti.run(paint())


def test_what_failed_does_not_count(sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(sandbox, 1)
    with KandinskyHook() as hook, pytest.raises(Exception, match="failed"):
        hook.get_result(hook.submit({"prompt": "[fail]"}).request_id)
    limit(sandbox, monkeypatch, 2 * PRICE)
    assert ti.run(paint())


def test_a_request_of_several_images_counts_once(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history has a row for each image, every one with the whole cost."""
    spend(sandbox, 1, samples=4)
    limit(sandbox, monkeypatch, 5 * PRICE)
    assert ti.run(paint(samples=1))
    with pytest.raises(AirflowFailException, match=r"\$0.05 of daily_budget=0.05"):
        task(1).run(paint(samples=4))


def test_the_price_of_more_images_is_more(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, 3 * PRICE)
    with pytest.raises(AirflowFailException, match=r"This would be \$0.04, which is more than"):
        ti.run(paint(samples=4))
    assert ti.run(paint(samples=2))


def test_a_re_attach_needs_no_budget(sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ti.run(paint())
    limit(sandbox, monkeypatch, PRICE / 2)
    ti.retry()
    assert ti.run(paint()) == first
    assert sandbox.count_calls("history") == 0


def test_without_a_history_the_first_use_is_an_error(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(sandbox, monkeypatch, 1, history_url=None)
    with pytest.raises(AirflowFailException, match=r"daily_budget needs a request history.*set history_url"):
        ti.run(paint())
    assert made(sandbox) == 0


def test_without_a_history_the_test_button_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(sandbox, monkeypatch, 1, history_url=None)
    with KandinskyHook() as hook:
        works, message = hook.test_connection()
    assert not works
    assert message.startswith("daily_budget needs a request history")
    limit(sandbox, monkeypatch, 1)
    with KandinskyHook() as hook:
        assert hook.test_connection()[0]


def test_a_history_that_cannot_be_read_lets_nothing_through(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(sandbox, monkeypatch, 1)
    sandbox.fault("history", times=1, status=503)
    with pytest.raises(ServiceUnavailableError, match="What was spent today cannot be read"):
        ti.run(paint())
    assert made(sandbox) == 0
    assert ti.store.values == {}
    assert ti.run(paint())


@pytest.mark.parametrize("dollars", [0, -1, "much", "nan", "inf"])
def test_a_budget_that_is_none_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, dollars: Any) -> None:
    limit(sandbox, monkeypatch, dollars)
    with KandinskyHook() as hook, pytest.raises(ConfigurationError, match=r"daily_budget.*a number of dollars above 0"):
        hook.get_conn()


# Until the next day.


def test_a_deferrable_task_waits_for_the_next_day(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, PRICE)
    operator = paint(deferrable=True, on_budget="wait")
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(ti.context_of(operator))
    deferred = caught.value
    end = (time.time() // DAY + 1) * DAY
    assert end <= deferred.trigger.moment.timestamp() <= end + 121
    assert made(sandbox) == 1
    limit(sandbox, monkeypatch, 2 * PRICE)  # as much as the next day has
    kwargs = json.loads(json.dumps(deferred.kwargs)) | {"event": None}
    assert ti.resume(paint(deferrable=True, on_budget="wait"), deferred.method_name, kwargs)
    assert made(sandbox) == 2


@pytest.mark.parametrize(
    "paints", [paint, lambda **arguments: paint_all(cats(2), **arguments)], ids=["single", "batch"]
)
def test_what_no_day_allows_is_not_waited_for(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, paints: Any
) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, PRICE / 2)
    operator = paints(deferrable=True, on_budget="wait")
    with pytest.raises(AirflowFailException, match="so no day allows it") as caught:
        operator.execute(ti.context_of(operator))
    assert "clear the task then" not in str(caught.value)
    assert made(sandbox) == 1


def test_a_task_in_a_worker_does_not_wait(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, PRICE)
    with pytest.raises(AirflowFailException, match="The daily budget is used up"):
        ti.run(paint(on_budget="wait"))


def test_a_batch_waits_for_the_next_day_with_what_is_left(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, 6 * PRICE)
    prompts = cats(8)
    operator = paint_all(prompts, deferrable=False, on_budget="fail")
    with pytest.raises(AirflowFailException, match="The daily budget is used up"):
        ti.run(operator)
    assert made(sandbox) == 6
    ti.retry()
    waiting = paint_all(prompts, deferrable=True, on_budget="wait")
    with pytest.raises(TaskDeferred) as caught:
        waiting.execute(ti.context_of(waiting))
    assert caught.value.method_name == "execute_after_reset"
    limit(sandbox, monkeypatch, 20 * PRICE)
    kwargs = json.loads(json.dumps(caught.value.kwargs)) | {"event": None}
    rows = ti.resume(paint_all(prompts, deferrable=True, on_budget="wait"), caught.value.method_name, kwargs)
    assert [row["error"] for row in rows] == [None] * 8
    assert made(sandbox) == 9


def test_a_day_that_is_over_is_not_waited_for() -> None:
    now = time.time()
    for until in (None, now - 100):
        with pytest.raises(TaskDeferred) as deferral:
            defer_until(paint(), day_end(BudgetExceededError("used up", until=until)), {})
        moment = deferral.value.trigger.moment.timestamp()
        assert now < moment <= now + 135


def test_the_end_of_the_day_travels_with_the_error() -> None:
    error = error_from_dict(BudgetExceededError("used up", until=5.0).to_dict())
    assert isinstance(error, BudgetExceededError)
    assert error.until == 5.0


# How far.


def test_a_batch_stops_at_the_budget(sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, 31 * PRICE)
    with pytest.raises(AirflowFailException, match="The daily budget is used up"):
        ti.run(paint_all(cats(50)))
    assert made(sandbox) == 31
    assert sum(bool(row["urls"]) for row in ti.pushed["return_value"]) == 30


@pytest.mark.heavy  # fifty tasks, most of them twice
def test_fifty_tasks_at_once_exceed_it_by_what_the_others_have_under_way(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound in docs/money.md: one submission for each of the other processes."""
    processes = 8
    spend(sandbox, 1)
    limit(sandbox, monkeypatch, 21 * PRICE, retry_timeout=20)
    tasks = [task(number) for number in range(50)]

    def run(ti: FakeTaskInstance) -> str:
        try:
            ti.run(paint())
        except AirflowFailException as error:
            return type(error.__cause__).__name__
        return "made"

    with ThreadPoolExecutor(processes) as pool:
        ends = list(pool.map(run, tasks))
    accepted = made(sandbox) - 1
    assert 20 <= accepted <= 20 + processes - 1
    assert ends.count("made") == accepted
    assert ends.count("BudgetExceededError") == 50 - accepted

    limit(sandbox, monkeypatch, 100 * PRICE, retry_timeout=20)  # as on the next day
    late = [ti for ti, end in zip(tasks, ends, strict=True) if end != "made"]
    with ThreadPoolExecutor(processes) as pool:
        assert set(pool.map(run, late)) == {"made"}
    assert made(sandbox) - 1 == 50


def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def item(number: int) -> Item:
    return Item(f"k{number}", TextToImageRequest(prompt=f"cat {number}"))


@in_event_loop
async def test_the_history_is_read_once_a_minute_and_own_submissions_are_added(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(sandbox, monkeypatch, 5 * PRICE)
    async with KandinskyHook() as hook:
        job = await hook.asubmit({"prompt": "a cat"})
        await hook.aget_result(job.request_id)
        clock = Clock(time.time())
        budget = DailyBudget(hook, DEFAULT_MODEL, clock=clock)
        for number in range(4):
            assert await budget.reserve([item(number)]) == ([item(number)], None)
        assert sandbox.count_calls("history") == 2  # and once for the price
        allowed, error = await budget.reserve([item(4)])
        assert (allowed, type(error)) == ([], BudgetExceededError)
        budget.refused(item(3))
        assert await budget.reserve([item(5)]) == ([item(5)], None)
        clock.now += 61
        await budget.reserve([item(6)])
        assert sandbox.count_calls("history") == 3


@in_event_loop
async def test_the_next_day_begins_with_nothing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(sandbox, monkeypatch, PRICE)
    async with KandinskyHook() as hook:
        job = await hook.asubmit({"prompt": "a cat"})
        await hook.aget_result(job.request_id)
        clock = Clock(time.time())
        budget = DailyBudget(hook, DEFAULT_MODEL, clock=clock)
        assert (await budget.reserve([item(0)]))[1] is not None
        clock.now += DAY
        assert (await budget.reserve([item(0)]))[1] is None


@in_event_loop
async def test_what_was_accepted_is_not_counted_twice(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(sandbox, monkeypatch, 3 * PRICE)
    async with KandinskyHook() as hook:
        clock = Clock(time.time())
        budget = DailyBudget(hook, DEFAULT_MODEL, clock=clock)
        for number in range(3):
            assert (await budget.reserve([item(number)]))[1] is None
            job = await hook.asubmit(item(number).request)
            budget.accepted(item(number), job.request_id)
            await hook.aget_result(job.request_id)
            clock.now += 61
        assert (await budget.reserve([item(9)]))[1] is not None


@in_event_loop
async def test_what_was_read_before_is_not_read_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a batch on a busy day would read all of it before each group."""
    limit(sandbox, monkeypatch, 100)
    async with KandinskyHook() as hook:
        jobs = [await hook.asubmit({"prompt": f"cat {number}", "samples": 8}) for number in range(40)]
        for job in jobs:
            await hook.aget_result(job.request_id)
        sandbox.configure(latency=60)
        await hook.asubmit({"prompt": "not finished"})
        clock = Clock(time.time())
        budget = DailyBudget(hook, DEFAULT_MODEL, clock=clock)
        await budget.reserve([item(0)])
        before = sandbox.count_calls("history")
        assert before >= 4
        clock.now += 61
        await budget.reserve([item(1)])
        assert sandbox.count_calls("history") == before + 1
