"""The service over HTTP, for callers that block: a facade over :class:`~.async_client.AsyncSegmindClient`.

Every call runs in an event loop in a thread of its own while the caller waits. So there is one implementation of rate
limits, retries and polling.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.loop_thread import LoopThread

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    function: Callable[Concatenate[AsyncSegmindClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SegmindClient, P], T]:
    """The method of the blocking client that runs one of the async client."""

    @functools.wraps(function)
    def method(self: SegmindClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(function, *args, **kwargs)

    return method


class SegmindClient:
    """The blocking client. Use as a context manager, or :meth:`close` it.

    Several threads may use it at a time. Its own thread starts with the first call. After a fork, the child's first
    call starts a new thread with new connections.

    :param api_key: the account's key.
    :param base_url: where the requests go.
    :param settings: those of :class:`~.async_client.AsyncSegmindClient`; ``transport``, ``sleep`` and ``read_key``
        are async here, too.
    """

    def __init__(self, api_key: str, base_url: str = DEFAULT_BASE_URL, **settings: Any) -> None:
        # Not a partial, whose repr contains the key.
        self._create: Callable[[], AsyncSegmindClient] = lambda: AsyncSegmindClient(api_key, base_url, **settings)
        self._client = self._create()
        self._starting = threading.Lock()
        self._loop: LoopThread | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, cancel all waits and end the client's thread."""
        with self._starting:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    @property
    def base_url(self) -> str:
        """Where the requests go; part of a submission's fingerprint."""
        return self._client.base_url

    @property
    def has_history(self) -> bool:
        """Whether there is a request history."""
        return self._client.has_history

    submit = _blocking(AsyncSegmindClient.submit)
    get_status = _blocking(AsyncSegmindClient.get_status)
    get_result = _blocking(AsyncSegmindClient.get_result)
    wait = _blocking(AsyncSegmindClient.wait)
    poll_until_done = _blocking(AsyncSegmindClient.poll_until_done)
    generate = _blocking(AsyncSegmindClient.generate)
    get_credits = _blocking(AsyncSegmindClient.get_credits)
    list_models = _blocking(AsyncSegmindClient.list_models)
    get_history = _blocking(AsyncSegmindClient.get_history)
    get_past_request = _blocking(AsyncSegmindClient.get_past_request)

    def call(
        self,
        function: Callable[Concatenate[AsyncSegmindClient, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an async function, whose first argument is the async client, in this client's event loop."""
        with self._starting:
            if self._is_closed:
                raise RuntimeError("The client has been closed")
            if self._loop is not None and not self._loop.is_alive:  # in the child of a fork
                self._client, self._loop = self._create(), None
            if self._loop is None:
                self._loop = LoopThread(self._client.aclose)
                # For clients that are never closed, such as those of the connection form's test button.
                weakref.finalize(self, self._loop.stop).atexit = False
            loop = self._loop
        return loop.run(function(self._client, *args, **kwargs))
