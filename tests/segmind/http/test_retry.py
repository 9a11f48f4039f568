"""How long, and how often, a call is retried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import tenacity

from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.retry import RetryPolicy
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest


def tried(
    number: int, error: KandinskyError, *, slept: float = 0.0, took: float = 0.0, next_sleep: float = 0.0
) -> tenacity.RetryCallState:
    """A failed try of a call.

    :param number: of the try, from 1.
    :param slept: seconds between its tries so far.
    :param took: seconds since the first try, by the clock.
    :param next_sleep: seconds until the next.
    """
    call = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    call.attempt_number, call.idle_for, call.upcoming_sleep = number, slept, next_sleep
    call.set_exception((type(error), error, None))
    # From 0, so that the time between them is `took` and not a rounding error more, whatever the machine's clock says.
    call.start_time, call.outcome_timestamp = 0.0, took
    return call


LIMITED, UNREACHED = RateLimitedError("429"), ServiceUnavailableError("refused")


@pytest.mark.parametrize(
    ("number", "error", "wait"),
    [
        (1, UNREACHED, 1.0),
        (2, UNREACHED, 2.0),
        (3, LIMITED, 4.0),
        (4, UNREACHED, 8.0),
        (5, UNREACHED, 8.0),
        (50, LIMITED, 8.0),
        (1, RateLimitedError("429", retry_after=12.0), 12.0),
        (4, RateLimitedError("429", retry_after=0.0), 0.0),
    ],
)
@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_the_wait_is_retry_after_or_else_an_exponential_backoff(
    number: int, error: KandinskyError, wait: float, jitter: float
) -> None:
    assert RetryPolicy(jitter=lambda: jitter).wait(tried(number, error)) == wait + jitter


@pytest.mark.parametrize(
    ("slept", "took", "next_sleep", "is_over"),
    [
        (0.0, 0.0, SUBMIT_RETRY_TIMEOUT, False),
        (0.0, 0.0, SUBMIT_RETRY_TIMEOUT + 0.5, True),
        (12.0, 0.0, 8.0, False),
        (12.5, 0.0, 8.0, True),
        (3.0, 12.0, 8.0, False),
        (3.0, 15.0, 8.0, True),
    ],
    ids=["one long wait", "one too long", "waits", "waits too long", "hung connections", "hung too long"],
)
def test_retries_end_after_20_s(slept: float, took: float, next_sleep: float, is_over: bool) -> None:
    assert SUBMIT_RETRY_TIMEOUT == 20.0
    call = tried(3, UNREACHED, slept=slept, took=took, next_sleep=next_sleep)
    assert RetryPolicy().options(clock=lambda: 1000.0)["stop"](call) is is_over


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [(LIMITED, True), (UNREACHED, True), (SubmissionUnknownError("lost"), False), (AuthenticationError("401"), False)],
    ids=lambda value: type(value).__name__,
)
def test_a_call_that_may_have_arrived_is_not_retried(error: KandinskyError, is_retried: bool) -> None:
    assert RetryPolicy().options(clock=lambda: 1000.0)["retry"](tried(1, error)) is is_retried


@pytest.mark.parametrize(("next_sleep", "is_over"), [(3.0, False), (3.1, True)])
def test_no_retry_is_planned_after_send_by(next_sleep: float, is_over: bool) -> None:
    call = tried(1, LIMITED, next_sleep=next_sleep)
    assert RetryPolicy().options(clock=lambda: 1000.0, send_by=1003.0)["stop"](call) is is_over


@pytest.mark.parametrize("timeout", [0.0, 3.0])
def test_the_timeout_is_a_policy_of_the_client(
    connect: Callable[..., Any], a_cat: TextToImageRequest, fake_time: Any, timeout: float
) -> None:
    limited = httpx.MockTransport(lambda request: httpx.Response(429, headers={"retry-after": "1"}))
    with pytest.raises(RateLimitedError):
        connect(transport=limited, retry_policy=RetryPolicy(timeout, jitter=lambda: 0.0)).submit(a_cat)
    assert fake_time.pauses.count(1.0) == timeout
