"""What the tests of the service share: a clock that only sleeping moves, both clients behind one face, raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.segmind.client import AsyncSegmindClient, SegmindClient
from airflow_provider_kandinsky.segmind.refusals import Answer
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

API_KEY = "SG_sandbox"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxies have no business between a test and its own machine."""
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
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class InLoop:
    """The async client with the face of the blocking one: each call runs in the client's own event loop."""

    def __init__(self, runner: asyncio.Runner, client: AsyncSegmindClient) -> None:
        self.client = client
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self.client)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        return (lambda *given, **named: self._runner.run(value(*given, **named))) if callable(value) else value


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=["blocking", "async"])
def connect(request: pytest.FixtureRequest, fake_time: FakeTime) -> Iterator[Callable[..., Any]]:
    """Make a client, once of each kind."""
    with ExitStack() as stack:

        def make(base_url: str = "https://segmind.test", api_key: str = API_KEY, **settings: Any) -> Any:
            settings = {"clock": fake_time.clock} | settings
            if request.param == "blocking":
                return stack.enter_context(SegmindClient(api_key, base_url, sleep=fake_time.sleep, **settings))
            runner = stack.enter_context(asyncio.Runner())
            # With a limit of its own it learns none, to which it would keep in real time.
            settings = {"requests_per_minute": 60_000} | settings
            made = AsyncSegmindClient.create(api_key, base_url, sleep=fake_time.asleep, **settings)
            client = InLoop(runner, runner.run(made))
            stack.callback(client.aclose)
            return client

        yield make


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox) -> Sandbox:
    """Jobs are finished at once here: the clients' time passes only by their sleeping."""
    kandinsky_sandbox.configure(latency=0)
    return kandinsky_sandbox


@pytest.fixture
def a_cat() -> TextToImageRequest:
    return TextToImageRequest(prompt="a cat", seed=7)


@pytest.fixture
def answer() -> Callable[..., Answer]:
    """Make an answer of the service; what is not bytes is sent as JSON."""

    def make(body: Any = b"", status: int = 200, headers: dict[str, str] | None = None, now: float = 0.0) -> Answer:
        return Answer(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode(), now)

    return make


class RawServer:
    """A listening socket that answers every connection with the same pieces, and keeps what it was sent.

    :param pieces: sent one by one.
    :param gap: seconds between them.
    """

    def __init__(self, pieces: list[bytes], gap: float) -> None:
        self.received: list[bytes] = []
        self._pieces, self._gap = pieces, gap
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, after all who have connected were heard."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        # Closing alone does not wake an accept() on every system; a caller does.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(timeout=5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    heard = connection.recv(65536)
                    if not heard and self._stopped.is_set():
                        return
                    self.received.append(heard)
                    self._speak(connection)
                except OSError:
                    continue  # the client hung up, as some tests want it to

    def _speak(self, connection: socket.socket) -> None:
        for piece in self._pieces:
            connection.sendall(piece)
            if self._stopped.wait(self._gap):
                return


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    with ExitStack() as stack:

        def start(*pieces: bytes, gap: float = 0.0) -> RawServer:
            server = RawServer(list(pieces), gap)
            stack.callback(server.close)
            return server

        yield start
