"""What costs no try: credits that are used up and rate limits, where a retry policy can reschedule (Airflow 3.4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, policies_can_reschedule
from airflow_provider_kandinsky.exceptions import BatchItemsFailedError, BudgetExceededError
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import InsufficientCreditsError, RateLimitedError

from ..support.task_instance import FakeTaskInstance, cats, paint, paint_all

can_reschedule = pytest.mark.skipif(not policies_can_reschedule(), reason="this Airflow's retry policies cannot")

OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all(cats(3), **arguments),
}
both = pytest.mark.parametrize("kind", OPERATORS)


class Rescheduled(FakeTaskInstance):
    """A task instance with its policy in the context, as Airflow has it.

    :param count: how often this try was rescheduled.
    """

    count = 0

    def context_of(self, operator: Any) -> Any:
        # Airflow has it from the task; were it another number, a task that was cleared.
        self.max_tries = operator.retries
        return super().context_of(operator) | {"task": operator, "task_reschedule_count": self.count}


@pytest.fixture
def ti() -> Rescheduled:
    return Rescheduled()


def policy() -> Any:
    from airflow_provider_kandinsky.retry_policy import KANDINSKY_RETRY_POLICY

    return KANDINSKY_RETRY_POLICY


@both
@can_reschedule
def test_credits_that_are_used_up_are_left_to_the_policy(sandbox: Sandbox, ti: Rescheduled, kind: str) -> None:
    sandbox.configure(credits=0)
    with pytest.raises(InsufficientCreditsError, match="The retry policy reschedules the task; that uses up no retry"):
        ti.run(OPERATORS[kind](retry_policy=policy()))
    assert ti.pushed["error"]["type"] == "InsufficientCreditsError"


@both
@can_reschedule
def test_at_the_bound_they_end_the_task(sandbox: Sandbox, ti: Rescheduled, kind: str) -> None:
    sandbox.configure(credits=0)
    ti.count = 36
    with pytest.raises(AirflowFailException, match="No retry can cure this"):
        ti.run(OPERATORS[kind](retry_policy=policy()))


@both
def test_without_such_a_policy_they_end_the_task_at_once(sandbox: Sandbox, ti: Rescheduled, kind: str) -> None:
    sandbox.configure(credits=0)
    with pytest.raises(AirflowFailException, match="No retry can cure this"):
        ti.run(OPERATORS[kind]())


@can_reschedule
def test_a_policy_of_the_user_that_knows_no_credits_changes_nothing(sandbox: Sandbox, ti: Rescheduled) -> None:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction

    sandbox.configure(credits=0)
    with pytest.raises(AirflowFailException):
        ti.run(paint(retry_policy=ExceptionRetryPolicy(rules=[], default=RetryAction.RETRY)))


@can_reschedule
def test_a_policy_that_fails_does_not_hide_why_the_task_has(
    sandbox: Sandbox, ti: Rescheduled, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk import RetryPolicy

    class Broken(RetryPolicy):
        def evaluate(self, *_: Any, **__: Any) -> Any:
            raise OSError("the model that decides cannot be reached")

    sandbox.configure(credits=0)
    with caplog.at_level(logging.ERROR), pytest.raises(AirflowFailException, match="Insufficient credits"):
        ti.run(paint(retry_policy=Broken()))
    assert "The retry policy failed to evaluate" in caplog.text


@can_reschedule
@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_a_batch_goes_on_after_a_refill_in_the_same_try(sandbox: Sandbox, ti: Rescheduled, deferrable: bool) -> None:
    sandbox.configure(credits=0.01)
    operator = OPERATORS["batch"](retry_policy=policy(), max_in_flight=1, deferrable=deferrable)
    with pytest.raises(InsufficientCreditsError):
        ti.run(operator)
    assert len(sandbox.submissions) == 1

    sandbox.configure(credits=1)
    ti.pushed.clear()
    ti.count = 1
    rows = ti.run(OPERATORS["batch"](retry_policy=policy(), max_in_flight=1, deferrable=deferrable))
    assert [row["error"] for row in rows] == [None] * 3
    assert len(sandbox.submissions) == 3


@can_reschedule
def test_a_batch_without_a_record_is_not_run_again(sandbox: Sandbox, ti: Rescheduled) -> None:
    sandbox.configure(credits=0.01)
    with pytest.raises(AirflowFailException):
        ti.run(OPERATORS["batch"](retry_policy=policy(), max_in_flight=1, durable=False))
    assert len(ti.pushed["return_value"]) == 3


def test_a_batch_without_a_record_hands_over_what_it_has_when_it_is_rate_limited(
    sandbox: Sandbox, ti: Rescheduled
) -> None:
    """Each reschedule would submit it again, and a policy has many of them."""
    sandbox.fault("submit", stall=0.01)
    sandbox.fault("submit", status=429, headers={"retry-after": "300"}, times=10)
    with pytest.raises(BatchItemsFailedError, match="A retry submits all items again") as failure:
        ti.run(OPERATORS["batch"](max_in_flight=1, durable=False))
    assert not isinstance(failure.value, RateLimitedError)
    assert [bool(row["urls"]) for row in ti.pushed["return_value"]] == [True, False, False]
    assert len(sandbox.submissions) == 1


@both
@can_reschedule
def test_a_used_up_budget_is_left_to_the_policy(
    sandbox: Sandbox, ti: Rescheduled, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KandinskyHook() as hook:
        hook.get_result(hook.submit({"prompt": "earlier"}).request_id)
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(daily_budget=0.01))
    with pytest.raises(BudgetExceededError, match="The retry policy reschedules the task; that uses up no retry"):
        ti.run(OPERATORS[kind](retry_policy=policy()))
    ti.count = 25
    with pytest.raises(AirflowFailException, match="The daily budget is used up"):
        ti.run(OPERATORS[kind](retry_policy=policy()))
    assert sandbox.count_calls("submit") == 1
