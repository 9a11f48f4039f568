"""How both clients use their connections: trusted ones, few, cut off in time, and shared by submissions and polls."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.segmind.constants import MAX_REQUESTS_IN_FLIGHT
from airflow_provider_kandinsky.segmind.errors import ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.exchange import ssl_context
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from ..virtual_time import T0, run

Connect = Callable[..., Any]
STATUS = {"status": "QUEUED", "request_id": "r-1"}
CREDITS = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"credits": 3}'
DRIP = [b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", *[b" "] * 200]


def test_a_service_that_the_environment_trusts_is_reached_over_tls(
    connect: Connect, raw_server: Callable[..., Any], trusted: Any
) -> None:
    server = raw_server(CREDITS, tls=trusted.tls)
    assert connect(server.url).get_credits().paid == 3.0


def test_the_key_is_not_sent_to_whom_nobody_trusts(
    connect: Connect, raw_server: Callable[..., Any], authority: Any
) -> None:
    server = raw_server(tls=authority.tls)
    with pytest.raises(ServiceUnavailableError, match="nothing was sent"):
        connect(server.url).get_credits()
    assert server.received == []


def test_a_server_that_drips_over_tls_is_incomplete(
    connect: Connect, raw_server: Callable[..., Any], trusted: Any
) -> None:
    server = raw_server(*DRIP, gap=0.1, tls=trusted.tls)
    started = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        connect(server.url, request_timeout=0.3).get_status("r-1")
    assert time.monotonic() - started < 10


def test_all_clients_share_one_ssl_context(
    connect: Connect, raw_server: Callable[..., Any], trusted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = raw_server(CREDITS, tls=trusted.tls)
    ssl_context()

    def build(*_: Any, **__: Any) -> ssl.SSLContext:
        raise AssertionError("building one takes 20 ms")

    monkeypatch.setattr(ssl, "create_default_context", build)
    for _ in range(2):
        assert connect(server.url).get_credits().paid == 3.0


def test_the_ssl_context_is_not_built_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    builders: list[threading.Thread] = []
    build = httpx.create_ssl_context

    def note_and_build() -> ssl.SSLContext:
        builders.append(threading.current_thread())
        return build()

    monkeypatch.setattr(httpx, "create_ssl_context", note_and_build)
    ssl_context.cache_clear()

    async def create() -> None:
        await (await AsyncSegmindClient.create("SG_x")).aclose()

    asyncio.run(create())
    assert len(builders) == 1
    assert builders[0] is not threading.main_thread()


@pytest.mark.parametrize("history_url", ["http://127.0.0.1:9/history", "https://127.0.0.1:9/history"])
def test_plain_http_needs_no_ssl_context(monkeypatch: pytest.MonkeyPatch, history_url: str) -> None:
    """It takes a worker 23 ms of CPU, a tenth of what a task costs it."""
    builders: list[str] = []
    build = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: builders.append("one") or build())
    ssl_context.cache_clear()

    async def create() -> None:
        for client in (
            AsyncSegmindClient("SG_x", "http://127.0.0.1:9", history_url=history_url),
            await AsyncSegmindClient.create("SG_x", "http://127.0.0.1:9", history_url=history_url),
        ):
            await client.aclose()

    asyncio.run(create())
    assert builders == ["one"] * history_url.startswith("https:")


@pytest.mark.parametrize(("idle", "connections"), [(1, 1), (4, 2)])
def test_a_connection_that_the_server_may_be_closing_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, idle: float, connections: int
) -> None:
    """A submission on it could be lost; a server that closes idle connections does so after 5 s as a rule."""
    opened = []
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr("httpcore._async.http11.time", clock)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(CREDITS)

    async def read_twice() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with AsyncSegmindClient("SG_x", f"http://127.0.0.1:{port}") as client:
            await client.get_credits()
            clock.monotonic = lambda: time.monotonic() + idle
            await client.get_credits()
        server.close()

    asyncio.run(read_twice())
    assert len(opened) == connections


class Held(httpx.AsyncBaseTransport):
    """Holds all requests until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(f"{request.method} {request.url.path}")
        await self.opened.wait()
        return httpx.Response(200, json=STATUS)


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_a_submission_goes_before_waiting_polls(a_cat: TextToImageRequest) -> None:
    async def crowd() -> list[str]:
        service = Held()
        async with AsyncSegmindClient("SG_x", transport=service) as client:
            waiting: list[asyncio.Task[Any]] = [
                asyncio.create_task(client.get_result("first")) for _ in range(MAX_REQUESTS_IN_FLIGHT + 1)
            ]
            await turns()
            assert len(service.seen) == MAX_REQUESTS_IN_FLIGHT
            for call in (client.get_status("late"), client.get_credits(), client.submit(a_cat, "m")):
                waiting.append(asyncio.create_task(call))
                await turns()
            service.opened.set()
            await asyncio.gather(*waiting, return_exceptions=True)
        return service.seen[MAX_REQUESTS_IN_FLIGHT:]

    assert asyncio.run(crowd()) == [
        "GET /v2/requests/first",  # it had its turn already
        "POST /v2/m",
        "GET /v1/get-user-credits",
        "GET /v2/requests/late/status",
    ]


def test_a_thousand_jobs_are_polled_by_no_more_tasks_than_connections() -> None:
    async def crowd() -> None:
        service = Held()
        loop = asyncio.get_running_loop()
        client = AsyncSegmindClient(
            "SG_x", history_url="", transport=service, request_timeout=3600, clock=lambda: T0 + loop.time()
        )
        async with client:
            waits = [
                asyncio.create_task(client.poll_until_done(f"r-{number}", submitted_at=T0 - 600, deadline=T0 + 600))
                for number in range(1000)
            ]
            await asyncio.sleep(100)
            assert sum(each.endswith("/status") for each in service.seen) == MAX_REQUESTS_IN_FLIGHT
            # Themselves, their workers, who starts the next one, the sweeps, and this test.
            assert len(asyncio.all_tasks()) <= len(waits) + MAX_REQUESTS_IN_FLIGHT + 3
        # Who still waits when the client is closed is cancelled.
        await asyncio.wait(waits)
        assert all(wait.cancelled() for wait in waits)

    run(crowd())


@pytest.mark.parametrize("status", [503, 429])
def test_questions_to_the_history_are_asked_again(connect: Connect, fake_time: Any, status: int) -> None:
    answers = [httpx.Response(status), httpx.Response(200, json=[]), httpx.Response(status), httpx.Response(404)]
    paths: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return answers.pop(0)

    client = connect(history_url="https://segmind.test/past", transport=httpx.MockTransport(respond))
    assert client.get_history("m", T0) == []
    assert client.get_past_request("r-1") is None
    assert paths == ["/past", "/past", "/past/r-1", "/past/r-1"]
    assert sum(fake_time.pauses) >= 2
