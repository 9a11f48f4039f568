"""The service over HTTP, for callers that block: a facade over :class:`~.async_client.AsyncSegmindClient`.

Every call runs in an event loop in a thread of its own while the caller waits. So there is one implementation of rate
limits, retries and polling.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL, DEFAULT_MODEL, WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.loop_thread import LoopThread
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

P = ParamSpec("P")
T = TypeVar("T")


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

    def submit(
        self,
        request: TextToImageRequest,
        model: str = DEFAULT_MODEL,
        *,
        send_by: float | None = None,
        on_send: Callable[[float], None] | None = None,
    ) -> Job:
        """Submit a generation.

        :param send_by: wall clock, seconds since the epoch; a POST that cannot be sent by then is not sent at all.
        :param on_send: called with the time just before each try of the POST, in the thread or event loop that sends
            it; if it raises, the POST is not sent.
        :raises SubmissionUnknownError: the request was sent and the response lost; it may have been accepted.
        :raises RateLimitedError: rate limited for longer than the :class:`~.retry.RetryPolicy` waits; nothing was
            accepted.
        :raises ServiceUnavailableError: not reached in that time; nothing was sent.
        :raises KandinskyError: rejected; nothing was accepted.
        """
        return self.call(AsyncSegmindClient.submit, request, model, send_by=send_by, on_send=on_send)

    def get_status(self, request_id: str) -> JobStatus:
        """Poll the status of a job once.

        :raises JobFailedError: the job failed. Failed jobs are not billed.
        :raises JobExpiredError: the service has no record of the job.
        :raises KandinskyError: the poll failed.
        """
        return self.call(AsyncSegmindClient.get_status, request_id)

    def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch the result of a completed job.

        :param model: the slug, for the result; the service does not return it.
        :raises JobFailedError: the job failed, whatever its status was.
        :raises InvalidResponseError: the job has not finished.
        :raises EmptyResultError: the job has finished without an image.
        :raises KandinskyError: the call failed.
        """
        return self.call(AsyncSegmindClient.get_result, request_id, model)

    def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Poll a job until it has finished, at the intervals of :class:`~.poller.JobPoller`, and fetch its result.

        :param timeout: seconds from now.
        :raises JobTimeoutError: not finished in time. The job may still be running, and will then be billed.
        :raises KandinskyError: as :meth:`get_status` and :meth:`get_result`; temporary errors are waited out.
        """
        return self.call(AsyncSegmindClient.wait, request_id, timeout, model)

    def poll_until_done(
        self,
        request_id: str,
        model: str | None = None,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
        samples: int | None = None,
    ) -> GenerationResult:
        """As :meth:`wait`, with the parameters of :class:`~.poller.JobPoller`.

        Where several jobs are waited for and there is a request history, sweeps over that replace most polls.

        :param model: the slug, for the result; the service does not return it.
        :param samples: how many images the job makes, all as URLs; ``None`` if that is not known, so that its result
            is always fetched.
        :raises KandinskyError: as for :meth:`wait`.
        """
        return self.call(
            AsyncSegmindClient.poll_until_done,
            request_id,
            model,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            samples=samples,
        )

    def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Submit a generation and wait for its result in the same request (v1), for at most 600 s.

        There is no request id, so a lost result cannot be fetched again.

        :raises SubmissionUnknownError: the response was lost; the generation may have been billed.
        :raises KandinskyError: rejected.
        """
        return self.call(AsyncSegmindClient.generate, request, model)

    def get_credits(self) -> Credits:
        """Read the balance of the account. Free of charge."""
        return self.call(AsyncSegmindClient.get_credits)

    def list_models(self) -> list[str]:
        """Read the slugs of the service's models, from the host of the request history. Free of charge.

        :return: at most 2000, in the service's order.
        :raises ConfigurationError: there is no history URL.
        :raises InvalidResponseError: there are no slugs in the response, whose form is not documented.
        :raises KandinskyError: the call failed.
        """
        return self.call(AsyncSegmindClient.list_models)

    def get_history(self, model: str, since: float, page: int = 1, *, until: float | None = None) -> list[PastRequest]:
        """Read one page of the history of a model: 100 rows, newest first. Free of charge.

        :param since: seconds since the epoch; the history goes by whole days, so older requests may be included.
        :param until: seconds since the epoch, likewise; ``None`` is now.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the call failed.
        """
        return self.call(AsyncSegmindClient.get_history, model, since, page, until=until)

    def get_past_request(self, request_id: str) -> PastRequest | None:
        """Read one request, of any age, from the history. Free of charge.

        :return: ``None`` if the history does not have it. Of several images there may be only one.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the call failed.
        """
        return self.call(AsyncSegmindClient.get_past_request, request_id)

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
