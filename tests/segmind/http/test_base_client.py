"""What both clients send with every request, how long they wait for its parts, and how long for another try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import tenacity

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    ConfigurationError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http import base_client
from airflow_provider_kandinsky.segmind.http.base_client import (
    GENERATE_TIMEOUT,
    SUBMIT_RETRY_TIMEOUT,
    next_wait,
    patience,
)
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]


class Service(httpx.MockTransport):
    """Answers all calls at once, and keeps the requests. Its jobs are finished unless their status is set."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status: Callable[[], str] = lambda: "COMPLETED"
        super().__init__(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        picture = "https://images.segmind.com/1.png"
        body = {"request_id": "r-1", "status": self.status(), "output": picture, "credits": 3}
        return httpx.Response(200, json=body)


def test_what_goes_with_every_request(connect: Connect, a_cat: TextToImageRequest) -> None:
    service = Service()
    client = connect("https://segmind.test/", " SG_x ", transport=service)
    client.submit(a_cat)
    client.get_status("r-1")
    for request in service.requests:
        assert request.headers["x-api-key"] == "SG_x"
        assert request.headers["user-agent"] == f"airflow-provider-kandinsky/{__version__}"
        assert request.headers["accept"] == "application/json, image/*"


@pytest.mark.parametrize(
    ("request_timeout", "connect_within"), [(30.0, 5.0), (10.0, 5.0), (4.0, 2.0)], ids=["30 s", "10 s", "4 s"]
)
def test_a_request_that_does_not_even_leave_is_given_up_before_the_whole_is(
    connect: Connect, request_timeout: float, connect_within: float
) -> None:
    service = Service()
    connect(transport=service, request_timeout=request_timeout).get_credits()
    limits = {"connect": connect_within, "pool": request_timeout / 2, "read": request_timeout, "write": request_timeout}
    assert service.requests[0].extensions["timeout"] == limits


def test_a_request_has_half_a_minute_and_a_painting_ten(connect: Connect, a_cat: TextToImageRequest) -> None:
    service = Service()
    client = connect(transport=service)
    client.get_credits()
    client.generate(a_cat)
    assert [request.extensions["timeout"]["read"] for request in service.requests] == [30.0, GENERATE_TIMEOUT]
    assert GENERATE_TIMEOUT == 600.0


def test_what_a_client_tells_of_its_account(connect: Connect) -> None:
    client = connect("segmind.test/v1")
    assert (client.base_url, client.has_history) == ("https://segmind.test", False)
    assert connect(history_url="https://segmind.test/history").has_history


def test_the_key_goes_over_an_open_line_only_where_that_is_allowed(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        connect("http://10.0.0.1")
    assert connect("http://10.0.0.1", allow_insecure=True).base_url == "http://10.0.0.1"


def test_a_wait_keeps_to_its_interval_and_to_its_deadline(connect: Connect, fake_time: Any) -> None:
    client = connect(transport=Service())
    now = fake_time.now
    client.poll_until_done("r-1", submitted_at=now, deadline=now + 100, poll_interval=7.0)
    client.poll_until_done("r-1", submitted_at=fake_time.now, deadline=fake_time.now + 3, poll_interval=7.0)
    assert fake_time.pauses == [7.0, 3.0]


def tried(
    number: int, error: KandinskyError, *, slept: float = 0.0, took: float = 0.0, next_sleep: float = 0.0
) -> tenacity.RetryCallState:
    """A call that has failed.

    :param number: how often it was made, from 1.
    :param slept: seconds between its tries so far.
    :param took: seconds since the first of them, as the clock goes.
    :param next_sleep: seconds until the next.
    """
    call = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    call.attempt_number, call.idle_for, call.upcoming_sleep = number, slept, next_sleep
    call.set_exception((type(error), error, None))
    call.outcome_timestamp = call.start_time + took
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
@pytest.mark.parametrize("dice", [0.0, 0.5])
def test_a_call_is_sent_again_when_told_or_else_ever_later(
    monkeypatch: pytest.MonkeyPatch, number: int, error: KandinskyError, wait: float, dice: float
) -> None:
    monkeypatch.setattr(base_client.random, "random", lambda: dice)
    assert next_wait(tried(number, error)) == wait + dice


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
def test_the_patience_for_a_call_is_twenty_seconds(slept: float, took: float, next_sleep: float, is_over: bool) -> None:
    assert SUBMIT_RETRY_TIMEOUT == 20.0
    call = tried(3, UNREACHED, slept=slept, took=took, next_sleep=next_sleep)
    assert patience(clock=lambda: 1000.0)["stop"](call) is is_over


@pytest.mark.parametrize(
    ("error", "is_sent_again"),
    [(LIMITED, True), (UNREACHED, True), (SubmissionUnknownError("lost"), False), (AuthenticationError("401"), False)],
    ids=lambda value: type(value).__name__,
)
def test_what_may_have_arrived_is_not_sent_again(error: KandinskyError, is_sent_again: bool) -> None:
    assert patience(clock=lambda: 1000.0)["retry"](tried(1, error)) is is_sent_again


@pytest.mark.parametrize(("next_sleep", "is_over"), [(3.0, False), (3.1, True)])
def test_a_call_is_not_slept_for_beyond_the_time_by_which_it_has_to_leave(next_sleep: float, is_over: bool) -> None:
    call = tried(1, LIMITED, next_sleep=next_sleep)
    assert patience(clock=lambda: 1000.0, send_by=1003.0)["stop"](call) is is_over
