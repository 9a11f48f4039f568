"""What goes wrong with a submission: it is sent again only if it cannot have arrived or was refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    Billing,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from ..virtual_time import Service, run

Connect = Callable[..., Any]
PAGE = "<html><head><title>502 Bad Gateway</title></head></html>"

LOST: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502 HTML": {"status": 502, "body": PAGE},
    "dropped": {"drop": True},
    "cut off JSON": {"status": 200, "body": '{"request_id": "r-'},
    "HTML under 200": {"status": 200, "body": PAGE},
    "no id": {"status": 201, "body": {"status": "QUEUED"}},
}


@pytest.mark.parametrize("after", [False, True], ids=["nothing accepted", "accepted"])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_a_submission_whose_response_is_lost_is_never_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fault: dict[str, Any], after: bool
) -> None:
    sandbox.fault("submit", after=after, **fault)
    with pytest.raises(SubmissionUnknownError) as caught:
        connect(sandbox.url).submit(a_cat)
    assert (caught.value.billing, caught.value.retryable) == (Billing.MAYBE, False)
    assert sandbox.count_calls("submit") == 1
    assert len(sandbox.submissions) == int(after)


def test_a_submission_that_ran_into_its_timeout_is_never_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest
) -> None:
    sandbox.fault("submit", stall=3, after=True, times=9)
    with pytest.raises(SubmissionUnknownError, match="ReadTimeout"):
        connect(sandbox.url, request_timeout=0.4).submit(a_cat)
    assert len(sandbox.submissions) == 1


def test_a_submission_without_any_response_is_sent_once(
    connect: Connect, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    silent = raw_server(b"", gap=30)
    with pytest.raises(SubmissionUnknownError):
        connect(silent.url, request_timeout=0.6).submit(a_cat)
    silent.close()
    assert [request.split(b" HTTP")[0] for request in silent.received] == [b"POST /v2/kandinsky2.1-txt2im"]


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"status": 200, "body": PAGE}], ids=str)
def test_a_lost_blocking_generation_is_never_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fault: dict[str, Any]
) -> None:
    sandbox.fault("generate", after=True, **fault)
    with pytest.raises(SubmissionUnknownError):
        connect(sandbox.url).generate(a_cat)
    assert sandbox.count_calls("generate") == 1


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("way", ["refused", "no such host"])
def test_an_unreachable_service_is_retried_for_a_while(
    connect: Connect, a_cat: TextToImageRequest, fake_time: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    if way == "no such host":
        url = "https://segmind.invalid"
        look_up = socket.getaddrinfo

        def unknown(host: Any, *rest: Any, **more: Any) -> Any:
            if host in ("segmind.invalid", b"segmind.invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return look_up(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServiceUnavailableError, match="nothing was sent") as caught:
        connect(url).submit(a_cat)
    assert caught.value.billing == "no"
    assert len(fake_time.pauses) >= 3
    assert 10 < sum(fake_time.pauses) <= SUBMIT_RETRY_TIMEOUT
    assert fake_time.pauses == sorted(fake_time.pauses)


def test_https_to_a_server_without_tls_sends_nothing(
    connect: Connect, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ServiceUnavailableError, match="nothing was sent"):
        connect(server.url.replace("http:", "https:")).submit(a_cat)
    assert not any(b"x-api-key" in heard or b"POST" in heard for heard in server.received)


def test_a_host_that_comes_up_in_time_gets_one_submission(connect: Connect, a_cat: TextToImageRequest) -> None:
    sent: list[httpx.Request] = []

    def come_up(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if len(sent) < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"request_id": "r-1"})

    assert connect(transport=httpx.MockTransport(come_up)).submit(a_cat).request_id == "r-1"
    assert len(sent) == 3


RETRY_AFTER = {"retry-after": "7"}
RESET = {"x-rate-limit-reset-at-utc": "1700000007"}


@pytest.mark.parametrize(
    ("headers", "first", "second"),
    [({}, (1.6, 2.4), (2, 3)), (RETRY_AFTER, (12, 19), (12, 19)), (RESET, (12, 19), (0, 1))],
    ids=["no hint", "Retry-After", "reset"],
)
def test_a_rate_limited_submission_is_retried_after_the_polls(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, headers: Any, first: Any, second: Any
) -> None:
    sandbox.fault("submit", status=429, times=2, headers=headers)
    sent_at: list[float] = []
    job = connect(sandbox.url).submit(a_cat, on_send=sent_at.append)
    assert [each["request_id"] for each in sandbox.submissions] == [job.request_id]
    assert sandbox.count_calls("submit") == len(sent_at) == 3
    for (earlier, later), (lowest, highest) in zip(pairwise(sent_at), (first, second), strict=True):
        assert lowest <= later - earlier <= highest + 0.1


@pytest.mark.parametrize("hinted", [21, 60, 3600])
def test_a_limit_longer_than_the_retry_timeout_is_raised_immediately(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, hinted: int
) -> None:
    sandbox.fault("submit", status=429, times=9, headers={"x-rate-limit-reset-at-utc": f"{1_700_000_000 + hinted}"})
    with pytest.raises(RateLimitedError) as caught:
        connect(sandbox.url).submit(a_cat)
    assert caught.value.retry_after == hinted
    assert (caught.value.billing, caught.value.retryable) == ("no", True)
    assert fake_time.pauses == []
    assert sandbox.count_calls("submit") == 1


@pytest.mark.parametrize(
    ("fault", "error_type", "retry_after"),
    [
        ({"status": 429, "headers": {"retry-after": "7"}}, RateLimitedError, 7.0),
        ({"status": 429}, RateLimitedError, None),
    ],
    ids=["Retry-After", "no hint"],
)
def test_a_submission_is_given_up_before_it_would_sleep_beyond_the_time_by_which_it_has_to_leave(
    connect: Connect,
    sandbox: Sandbox,
    a_cat: TextToImageRequest,
    fake_time: Any,
    fault: Any,
    error_type: Any,
    retry_after: float | None,
) -> None:
    sandbox.fault("submit", times=99, **fault)
    started, sent_at = fake_time.now, []
    with pytest.raises(error_type) as caught:
        connect(sandbox.url).submit(a_cat, send_by=started + 5, on_send=sent_at.append)
    assert caught.value.retry_after == retry_after
    assert fake_time.now <= started + 5.1
    assert max(sent_at) <= started + 5
    assert sandbox.count_calls("submit") == len(sent_at)


def test_a_submission_that_is_late_is_not_sent(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    with pytest.raises(RateLimitedError, match="was not sent"):
        connect(sandbox.url).submit(a_cat, send_by=fake_time.now - 0.1)
    assert sandbox.count_calls("submit") == 0
    assert connect(sandbox.url).submit(a_cat, send_by=fake_time.now + 0.1).request_id


def test_waiting_for_the_rate_limiter_counts_as_well() -> None:
    async def submit_two() -> None:
        service = Service()
        async with service.client(requests_per_minute=2) as client:
            request, started, sent_at = TextToImageRequest(prompt="a cat"), service.clock(), []
            await client.submit(request, on_send=sent_at.append)
            with pytest.raises(RateLimitedError, match="was not sent"):
                await client.submit(request, send_by=started + 20, on_send=sent_at.append)
            assert service.clock() == pytest.approx(started + 20, abs=0.01)
            assert len(sent_at) == len(service.exchanges) == 1

    run(submit_two())


def test_what_is_raised_just_before_the_submission_leaves_keeps_it_back(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest
) -> None:
    def keep_back(_: float) -> None:
        raise ZeroDivisionError

    client = connect(sandbox.url)
    for _ in range(30):  # more often than there are connections: no place is lost by it
        with pytest.raises(ZeroDivisionError):
            client.submit(a_cat, on_send=keep_back)
    assert sandbox.count_calls("submit") == 0
    assert client.submit(a_cat).request_id


def test_on_send_is_called_before_each_try(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    sandbox.fault("submit", status=429, times=2)
    calls_before: list[int] = []
    sent_at: list[float] = []

    def note(now: float) -> None:
        calls_before.append(sandbox.count_calls("submit"))
        sent_at.append(now)

    connect(sandbox.url).submit(a_cat, on_send=note)
    assert calls_before == [0, 1, 2]
    assert sent_at == sorted(sent_at)
    assert sent_at[-1] == fake_time.now


def test_retries_of_a_persistent_limit_end(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    sandbox.fault("submit", status=429, times=99)
    with pytest.raises(RateLimitedError):
        connect(sandbox.url).submit(a_cat)
    assert 10 < sum(fake_time.pauses) <= SUBMIT_RETRY_TIMEOUT + 2
    assert 3 <= sandbox.count_calls("submit") <= len(fake_time.pauses) + 1
    assert sandbox.submissions == []


def test_a_submission_that_found_no_free_connection_was_not_sent(
    raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    class SentAgain(Exception):
        pass

    async def send_again(_seconds: float) -> None:
        raise SentAgain

    async def buy_while_the_pool_is_taken() -> None:
        silent = raw_server(b"", gap=30)
        pool = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1))
        slow = AsyncSegmindClient("SG_x", silent.url, transport=pool, request_timeout=30)
        taken = asyncio.create_task(slow.get_status("r-1"))
        while not silent.received:
            await asyncio.sleep(0.001)
        client = AsyncSegmindClient("SG_x", silent.url, transport=pool, sleep=send_again, request_timeout=0.5)
        try:
            await client.submit(a_cat)
        finally:
            taken.cancel()

    # Only what is known not to have been sent is ever sent again.
    with pytest.raises(SentAgain):
        asyncio.run(buy_while_the_pool_is_taken())
