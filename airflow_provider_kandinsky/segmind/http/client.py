"""The service over HTTP, for callers that block: a face of :class:`~.async_client.AsyncSegmindClient`.

Every call runs in an event loop in a thread of its own, and the caller waits for it. So there is one client to
reason about: one rate limiter, one retry loop, one poll loop.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from airflow_provider_kandinsky.segmind.http.api import DEFAULT_BASE_URL
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.base_client import WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.http.loop_thread import LoopThread
from airflow_provider_kandinsky.segmind.schemas import (
    DEFAULT_MODEL,
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

__all__ = ["AsyncSegmindClient", "SegmindClient"]

P = ParamSpec("P")
T = TypeVar("T")


class SegmindClient:
    """The blocking client. Use as a context manager, or :meth:`close` it.

    It may be used by several threads at once. Its own thread starts with the first call; a client that is used again
    in a forked process starts over there, with connections of its own.

    :param api_key: the account's key.
    :param base_url: where the requests go.
    :param settings: those of :class:`~.async_client.AsyncSegmindClient`; ``transport``, ``sleep`` and ``read_key``
        are async here, too.
    """

    def __init__(self, api_key: str, base_url: str = DEFAULT_BASE_URL, **settings: Any) -> None:
        # Not a partial, whose repr holds the key.
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
        """Close the connections and end the client's thread; who still waits for a job is cancelled."""
        with self._starting:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    @property
    def base_url(self) -> str:
        """Where the requests go; part of a purchase's fingerprint."""
        return self._client.base_url

    @property
    def has_history(self) -> bool:
        """Whether there is a request history to ask."""
        return self._client.has_history

    def submit(
        self,
        request: TextToImageRequest,
        model: str = DEFAULT_MODEL,
        *,
        send_by: float | None = None,
        on_send: Callable[[float], None] | None = None,
    ) -> Job:
        """Submit a generation.

        :param send_by: wall clock, seconds since the epoch; a POST that could not leave by then is not sent.
        :param on_send: called with the time each time the POST is about to leave, in the thread or event loop that
            sends it; what it raises keeps the POST back.
        :raises SubmissionUnknownError: the request was sent and its answer lost; it may have been accepted.
        :raises RateLimitedError: limited for longer than :data:`~.base_client.SUBMIT_RETRY_TIMEOUT`; nothing was
            accepted.
        :raises ServiceUnavailableError: not reached in that time; nothing was sent.
        :raises KandinskyError: refused; nothing was accepted.
        """
        return self._run(AsyncSegmindClient.submit, request, model, send_by=send_by, on_send=on_send)

    def get_status(self, request_id: str) -> JobStatus:
        """Look once at where a job stands.

        :raises JobFailedError: it failed. A job that failed is not billed.
        :raises JobExpiredError: the service does not know it, or no longer.
        :raises KandinskyError: the look itself failed.
        """
        return self._run(AsyncSegmindClient.get_status, request_id)

    def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch what a finished job gave.

        :param model: the slug, to be told in the result; the service does not tell it.
        :raises JobFailedError: it failed, whatever its status had said.
        :raises InvalidResponseError: it is not finished.
        :raises EmptyResultError: it is finished, without a picture.
        :raises KandinskyError: the fetching itself failed.
        """
        return self._run(AsyncSegmindClient.get_result, request_id, model)

    def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Wait until a job is finished and fetch what it gave, by the cadence of :class:`~.poller.JobPoller`.

        :param timeout: seconds from now.
        :raises JobTimeoutError: not finished in time. It may still be running, and will then be billed.
        :raises KandinskyError: as for :meth:`get_status` and :meth:`get_result`, but for what passes by itself.
        """
        return self._run(AsyncSegmindClient.wait, request_id, timeout, model)

    def poll_until_done(
        self,
        request_id: str,
        model: str | None = None,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
    ) -> GenerationResult:
        """Wait until a job is finished and fetch what it gave; see :class:`~.poller.JobPoller` for the parameters.

        :param model: the slug, for the result; the service does not say it.
        :raises KandinskyError: as for :meth:`wait`.
        """
        return self._run(
            AsyncSegmindClient.poll_until_done,
            request_id,
            model,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
        )

    def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Buy a generation and hold the line until it is there (v1), :data:`~.base_client.GENERATE_TIMEOUT` at most.

        There is no request id: what is lost on the way cannot be asked for again.

        :raises SubmissionUnknownError: the answer was lost; it may have been billed.
        :raises KandinskyError: refused.
        """
        return self._run(AsyncSegmindClient.generate, request, model)

    def get_credits(self) -> Credits:
        """Ask what is left on the account. Free of charge."""
        return self._run(AsyncSegmindClient.get_credits)

    def get_history(self, model: str, since: float, page: int = 1, *, until: float | None = None) -> list[PastRequest]:
        """Ask for the requests that were made of a model, newest first, 100 rows a page. Free of charge.

        :param since: seconds since the epoch; whole days are asked for, so there may be older ones, too.
        :param until: seconds since the epoch; the same. Now, if it is not given.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the asking failed.
        """
        return self._run(AsyncSegmindClient.get_history, model, since, page, until=until)

    def get_past_request(self, request_id: str) -> PastRequest | None:
        """Ask the history for one request, of any age. Free of charge.

        :return: ``None`` if it is not there. If it gave several pictures, there may be only one of them.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the asking failed.
        """
        return self._run(AsyncSegmindClient.get_past_request, request_id)

    def _run(
        self,
        method: Callable[Concatenate[AsyncSegmindClient, P], Coroutine[Any, Any, T]],
        *given: P.args,
        **named: P.kwargs,
    ) -> T:
        with self._starting:
            if self._is_closed:
                raise RuntimeError("The client has been closed")
            if self._loop is not None and not self._loop.is_alive:  # this is the child of a fork
                self._client, self._loop = self._create(), None
            if self._loop is None:
                self._loop = LoopThread(self._client.aclose)
                # For whoever forgets to close it, as those who press the connection form's test button do.
                weakref.finalize(self, self._loop.stop).atexit = False
            loop = self._loop
        return loop.run(method(self._client, *given, **named))
