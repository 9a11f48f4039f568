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

__all__ = ["Sandbox", "SandboxServer", "listen", "running_sandbox"]


class _DroppableConnection(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # uvicorn picks the class when imported
    """Hands the application a way to close its connection. ASGI has none: an application that raises is answered with
    a 500, which is not what a lost connection looks like to a client."""

    app: ASGIApp

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        app = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await app(scope, receive, send)

        self.app = with_abort


class SandboxServer(uvicorn.Server):
    """A uvicorn server that says when it is ready, and that takes its clients along when it stops: an answer that is
    held back for a minute must not keep a test run waiting for it.

    :param on_ready: called once, when calls are answered.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(settings),
                http=_DroppableConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",  # its comings and goings do not belong into the log of somebody's tests
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
    """A listening socket.

    :param port: 0 for any that is free.
    """
    return socket.create_server((host, port), backlog=2048)


@contextmanager
def running_sandbox(*, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> Generator[Sandbox]:
    """A sandbox in a thread of this process, for as long as the block lasts.

    :param port: 0 for any that is free.
    :param settings: see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.
    """
    opening_settings = Settings(**settings)
    ready = threading.Event()
    listener = listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    server = SandboxServer(opening_settings, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="kandinsky-sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(timeout=30):
            raise RuntimeError("The sandbox did not start within 30 seconds.")
        with Sandbox(url, opening_settings.api_keys[0]) as sandbox:
            yield sandbox
    finally:
        server.should_exit = True
        thread.join(timeout=30)
