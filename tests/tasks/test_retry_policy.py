from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_kandinsky.compat.airflow import policies_can_reschedule
from airflow_provider_kandinsky.segmind import errors

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction
except ImportError:
    pytest.skip("this Airflow has no retry policies", allow_module_level=True)

from airflow_provider_kandinsky.retry_policy import KANDINSKY_RETRY_POLICY


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (errors.JobTimeoutError("late", request_id="r"), timedelta(seconds=5)),
        (errors.SubmissionUnknownError("lost"), timedelta(seconds=30)),
        (errors.JobFailedError("failed", request_id="r"), timedelta(seconds=30)),
        (errors.ServiceUnavailableError("away"), timedelta(minutes=2)),
        (errors.InvalidResponseError("<html>"), timedelta(minutes=2)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("stored", [False, True], ids=["as shipped", "out of a serialized DAG"])
def test_each_failure_has_its_delay(error: errors.KandinskyError, delay: timedelta, stored: bool) -> None:
    policy = KANDINSKY_RETRY_POLICY
    if stored:
        policy = ExceptionRetryPolicy.deserialize(policy.serialize())
    decision = policy.evaluate(error, try_number=1, max_tries=3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, delay)
    assert decision.reason


def test_a_rate_limit_costs_no_try_where_airflow_can_reschedule() -> None:
    decision = KANDINSKY_RETRY_POLICY.evaluate(errors.RateLimitedError("slow down"), 1, 3)
    assert decision.retry_delay == timedelta(seconds=60)
    if policies_can_reschedule():
        assert (decision.action, decision.max_reschedules) == (RetryAction.RESCHEDULE, 30)
    else:
        assert decision.action is RetryAction.RETRY


def test_neither_do_credits_that_are_used_up() -> None:
    decision = KANDINSKY_RETRY_POLICY.evaluate(errors.InsufficientCreditsError("used up"), 1, 3)
    if policies_can_reschedule():
        assert (decision.action, decision.max_reschedules) == (RetryAction.RESCHEDULE, 36)
        assert decision.retry_delay == timedelta(minutes=10)
    else:
        assert decision.action is RetryAction.DEFAULT


def test_what_is_not_ours_is_left_to_the_task() -> None:
    assert KANDINSKY_RETRY_POLICY.evaluate(ValueError(), 1, 3).action is RetryAction.DEFAULT
