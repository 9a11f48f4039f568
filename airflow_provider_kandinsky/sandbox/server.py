"""Runs the sandbox with uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_kandinsky.sandbox.app import create_app
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.endpoint import ABORT
from airflow_provider_kandinsky.sandbox.settings import Settings


class _DroppableConnection(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # uvicorn picks the class when imported
    """Lets the application close its connection, which ASGI does not support: raising would send a 500."""

    app: ASGIApp

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        app = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await app(scope, receive, send)

        self.app = with_abort


class SandboxServer(uvicorn.Server):
    """A uvicorn server that reports when it is ready, and drops its clients when it stops: a stalled response must not
    delay the end of a test run.

    :param on_ready: called once the server accepts calls.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(settings),
                http=_DroppableConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",  # its lifecycle does not belong in the logs of users' tests
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets=sockets)


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening socket.

    :param port: 0 for any free port.
    """
    return socket.create_server((host, port), backlog=2048)


@contextmanager
def running_sandbox(*, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> Generator[Sandbox]:
    """Run a sandbox in a thread of this process while the block runs.

    :param port: 0 for any free port.
    :param settings: see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.
    """
    initial_settings = Settings(**settings)
    ready = threading.Event()
    listener = listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    server = SandboxServer(initial_settings, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="kandinsky-sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(timeout=30):
            raise RuntimeError("The sandbox did not start within 30 seconds.")
        with Sandbox(url, initial_settings.api_keys[0]) as sandbox:
            yield sandbox
    finally:
        server.should_exit = True
        thread.join(timeout=30)
