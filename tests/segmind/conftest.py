"""Shared by the tests of segmind: a clock that only sleeping moves, both clients with one interface, raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.client import SegmindClient
from airflow_provider_kandinsky.segmind.http.exchange import ssl_context
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.response import Response

API_KEY = "SG_sandbox"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypass the environment's proxies."""
    monkeypatch.setenv("NO_PROXY", "*")


class FakeTime:
    """Time that passes only by sleeping."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        assert len(self.pauses) < 5000, "this would never end"
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class InLoop:
    """The async client with the interface of the blocking one: each call runs in the client's own event loop."""

    def __init__(self, runner: asyncio.Runner, client: AsyncSegmindClient) -> None:
        self.client = client
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self.client)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        return (lambda *args, **kwargs: self._runner.run(value(*args, **kwargs))) if callable(value) else value


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=["blocking", "async"])
def connect(request: pytest.FixtureRequest, fake_time: FakeTime) -> Iterator[Callable[..., Any]]:
    """Make a client, once of each kind."""
    with ExitStack() as stack:

        def make(base_url: str = "https://segmind.test", api_key: str = API_KEY, **settings: Any) -> Any:
            # With a configured limit the client learns none, which it would wait for in real time.
            settings = {"clock": fake_time.clock, "sleep": fake_time.asleep, "requests_per_minute": 60_000} | settings
            if request.param == "blocking":
                return stack.enter_context(SegmindClient(api_key, base_url, **settings))
            runner = stack.enter_context(asyncio.Runner())
            made = AsyncSegmindClient.create(api_key, base_url, **settings)
            client = InLoop(runner, runner.run(made))
            stack.callback(client.aclose)
            return client

        yield make


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox) -> Sandbox:
    """Jobs complete without latency: the clients' time passes only while they sleep."""
    return kandinsky_sandbox


@pytest.fixture
def a_cat() -> TextToImageRequest:
    return TextToImageRequest(prompt="a cat", seed=7)


@pytest.fixture
def make_response() -> Callable[..., Response]:
    """Make a response of the service; a body that is not bytes is sent as JSON."""

    def make(body: Any = b"", status: int = 200, headers: dict[str, str] | None = None, now: float = 0.0) -> Response:
        return Response(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode(), now)

    return make


class RawServer:
    """A listening socket that sends every connection the same chunks, and keeps what it receives.

    :param chunks: sent one by one.
    :param gap: seconds between them.
    :param tls: for https.
    """

    def __init__(self, chunks: list[bytes], gap: float, tls: ssl.SSLContext | None) -> None:
        self.received: list[bytes] = []
        self._chunks, self._gap, self._tls = chunks, gap, tls
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after all open connections were served."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        # Closing does not wake accept() on every system; a connection does.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(timeout=5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    if not connection.recv(1, socket.MSG_PEEK) and self._stopped.is_set():
                        return
                    with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as line:
                        self.received.append(line.recv(65536))
                        self._speak(line)
                except OSError:
                    continue  # the client closed, as some tests want

    def _speak(self, connection: socket.socket) -> None:
        for chunk in self._chunks:
            connection.sendall(chunk)
            if self._stopped.wait(self._gap):
                return


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    with ExitStack() as stack:

        def start(*chunks: bytes, gap: float = 0.0, tls: ssl.SSLContext | None = None) -> RawServer:
            server = RawServer(list(chunks), gap, tls)
            stack.callback(server.close)
            return server

        yield start


class Authority(NamedTuple):
    """A certificate authority that this machine does not trust, and a server's context with a certificate of it."""

    certificate: Path
    tls: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for 127.0.0.1, as a company's proxy has."""
    issuer = trustme.CA()
    certificate = tmp_path_factory.mktemp("authority") / "certificate.pem"
    issuer.cert_pem.write_to_path(str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(tls)
    return Authority(certificate, tls)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """The authority, trusted through SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    ssl_context.cache_clear()
    yield authority
    ssl_context.cache_clear()
