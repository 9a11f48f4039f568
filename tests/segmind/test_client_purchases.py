"""What goes wrong with a purchase: it is sent again only if it cannot have arrived or was refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.segmind.client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.errors import (
    Billing,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.segmind.shell import SUBMIT_PATIENCE

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
def test_a_purchase_whose_answer_is_lost_is_never_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fault: dict[str, Any], after: bool
) -> None:
    sandbox.fault("submit", after=after, **fault)
    with pytest.raises(SubmissionUnknownError) as caught:
        connect(sandbox.url).submit(a_cat)
    assert (caught.value.billing, caught.value.retryable) == (Billing.MAYBE, False)
    assert sandbox.count_calls("submit") == 1
    assert len(sandbox.submissions) == int(after)


def test_a_purchase_that_ran_into_its_timeout_is_never_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest
) -> None:
    sandbox.fault("submit", stall=3, after=True, times=9)
    with pytest.raises(SubmissionUnknownError, match="ReadTimeout"):
        connect(sandbox.url, request_timeout=0.4).submit(a_cat)
    assert len(sandbox.submissions) == 1


def test_a_purchase_without_any_answer_is_sent_once(
    connect: Connect, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    silent = raw_server(b"", gap=30)
    with pytest.raises(SubmissionUnknownError):
        connect(silent.url, request_timeout=0.1).submit(a_cat)
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
def test_who_is_not_reached_is_tried_again_for_a_while(
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
    assert 10 < sum(fake_time.pauses) <= SUBMIT_PATIENCE
    assert fake_time.pauses == sorted(fake_time.pauses)


def test_https_to_a_server_without_tls_sends_nothing(
    connect: Connect, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    server = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ServiceUnavailableError, match="nothing was sent"):
        connect(server.url.replace("http:", "https:")).submit(a_cat)
    assert not any(b"x-api-key" in heard or b"POST" in heard for heard in server.received)


def test_a_host_that_comes_up_in_time_gets_one_purchase(connect: Connect, a_cat: TextToImageRequest) -> None:
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
    [({}, (1, 2), (2, 3)), (RETRY_AFTER, (7, 8), (7, 8)), (RESET, (7, 8), (0, 1))],
    ids=["no advice", "Retry-After", "reset"],
)
def test_a_rate_limited_purchase_is_sent_again(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, headers: Any, first: Any, second: Any
) -> None:
    sandbox.fault("submit", status=429, times=2, headers=headers)
    job = connect(sandbox.url).submit(a_cat)
    assert [each["request_id"] for each in sandbox.submissions] == [job.request_id]
    assert sandbox.count_calls("submit") == 3
    for pause, (lowest, highest) in zip(fake_time.pauses, (first, second), strict=True):
        assert lowest <= pause <= highest


@pytest.mark.parametrize("advised", [21, 60, 3600])
def test_a_limit_beyond_patience_is_told_at_once(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, advised: int
) -> None:
    sandbox.fault("submit", status=429, times=9, headers={"x-rate-limit-reset-at-utc": f"{1_700_000_000 + advised}"})
    with pytest.raises(RateLimitedError) as caught:
        connect(sandbox.url).submit(a_cat)
    assert caught.value.retry_after == advised
    assert (caught.value.billing, caught.value.retryable) == ("no", True)
    assert fake_time.pauses == []
    assert sandbox.count_calls("submit") == 1


def test_a_limit_that_stays_ends_patience(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    sandbox.fault("submit", status=429, times=99)
    with pytest.raises(RateLimitedError):
        connect(sandbox.url).submit(a_cat)
    assert 10 < sum(fake_time.pauses) <= SUBMIT_PATIENCE
    assert sandbox.count_calls("submit") == len(fake_time.pauses) + 1
    assert sandbox.submissions == []


def test_a_purchase_that_found_no_free_connection_was_not_sent(
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
