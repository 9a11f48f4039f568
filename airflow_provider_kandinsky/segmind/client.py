"""The service over HTTP, blocking and async: two thin shells around :mod:`.calls`, :mod:`.wire` and :mod:`.polling`.

A POST is money. It is sent again only if it cannot have arrived or was refused as rate limited, and only for as
long as :data:`~.shell.SUBMIT_PATIENCE`; all else that befalls it is an error. Questions to the history have the
same patience. The other free calls are sent once: who waits for a job has the :class:`~.polling.JobPoller` to tell
when to look again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar
from weakref import WeakSet

import httpx
import tenacity

from airflow_provider_kandinsky.segmind.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.calls import DEFAULT_BASE_URL, Call
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.history import PastRequest
from airflow_provider_kandinsky.segmind.http_logs import own_request
from airflow_provider_kandinsky.segmind.polling import JobPoller
from airflow_provider_kandinsky.segmind.refusals import Answer
from airflow_provider_kandinsky.segmind.schemas import (
    DEFAULT_MODEL,
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.shell import (
    GENERATE_TIMEOUT,
    PATIENCE,
    WAIT_TIMEOUT,
    Shell,
    ssl_context,
)

__all__ = ["AsyncSegmindClient", "SegmindClient"]

T = TypeVar("T")


class SegmindClient(Shell):
    """The blocking client. Use as a context manager, or :meth:`close` it.

    Not for several threads: what takes too long in one would be cut off in the others as well.

    :param transport: an httpx transport, in place of the network.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **settings: Any,
    ) -> None:
        super().__init__(api_key, base_url, **settings)
        self._sleep = sleep
        self._http = httpx.Client(transport=transport, verify=ssl_context(), **self._http_options())
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
        :raises RateLimitedError: limited for longer than :data:`~.shell.SUBMIT_PATIENCE`; nothing was accepted.
        :raises ServiceUnavailableError: not reached in that time; nothing was sent.
        :raises KandinskyError: refused; nothing was accepted.
        """
        return self._perform_patiently(self._api.submit(request, model, self._before_send(send_by, on_send)))

    def get_status(self, request_id: str) -> JobStatus:
        """Look once at where a job stands.

        :raises JobFailedError: it failed. A job that failed is not billed.
        :raises JobExpiredError: the service does not know it, or no longer.
        :raises KandinskyError: the look itself failed.
        """
        return self._perform(self._api.status(request_id))

    def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch what a finished job gave.

        :param model: the slug, to be told in the result; the service does not tell it.
        :raises JobFailedError: it failed, whatever its status had said.
        :raises InvalidResponseError: it is not finished.
        :raises EmptyResultError: it is finished, without a picture.
        :raises KandinskyError: the fetching itself failed.
        """
        return self._perform(self._api.result(request_id, model))

    def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Wait until a job is finished and fetch what it gave, by the cadence of :class:`~.polling.JobPoller`.

        :param timeout: seconds from now.
        :raises JobTimeoutError: not finished in time. It may still be running, and will then be billed.
        :raises KandinskyError: as for :meth:`get_status` and :meth:`get_result`, but for what passes by itself.
        """
        now = self._clock()
        return self.follow(request_id, model, submitted_at=now, deadline=now + timeout)

    def follow(
        self,
        request_id: str,
        model: str | None = None,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
    ) -> GenerationResult:
        """Wait until a job is finished and fetch what it gave; see :class:`~.polling.JobPoller` for the parameters.

        :param model: the slug, to be told in the result, and to know when jobs like this one are finished.
        :raises KandinskyError: as for :meth:`wait`.
        """
        poller = self._poller(request_id, model, submitted_at, deadline, poll_interval)
        found: GenerationResult | float = poller.start(self._clock())
        while not isinstance(found, GenerationResult):
            self._sleep(found)
            found = self._look(poller, model)
        return found

    def _look(self, poller: JobPoller, model: str | None) -> GenerationResult | float:
        """Look once: the result if it is there, else how many seconds to wait."""
        try:
            if not poller.completed:
                pause = poller.on_status(self.get_status(poller.request_id), self._clock())
                if not poller.completed:
                    return pause
            result = self.get_result(poller.request_id, model)
        except KandinskyError as error:
            return poller.on_error(error, self._clock())
        return poller.on_result(result)

    def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Buy a generation and hold the line until it is there (v1), :data:`~.shell.GENERATE_TIMEOUT` at most.

        There is no request id: what is lost on the way cannot be asked for again.

        :raises SubmissionUnknownError: the answer was lost; it may have been billed.
        :raises KandinskyError: refused.
        """
        return self._perform(self._api.generate(request, model), GENERATE_TIMEOUT)

    def get_credits(self) -> Credits:
        """Ask what is left on the account. Free of charge."""
        return self._perform(self._api.credits())

    def get_history(self, model: str, since: float, page: int = 1, *, until: float | None = None) -> list[PastRequest]:
        """Ask for the requests that were made of a model, newest first, 100 rows a page. Free of charge.

        :param since: seconds since the epoch; whole days are asked for, so there may be older ones, too.
        :param until: seconds since the epoch; the same. Now, if it is not given.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the asking failed.
        """
        return self._perform_patiently(self._api.history(model, since, page, until))

    def get_past_request(self, request_id: str) -> PastRequest | None:
        """Ask the history for one request, of any age. Free of charge.

        :return: ``None`` if it is not there. If it gave several pictures, there may be only one of them.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the asking failed.
        """
        return self._perform_patiently(self._api.past_request(request_id))

    def _perform_patiently(self, call: Call[T]) -> T:
        retrying = tenacity.Retrying(sleep=self._sleep, **PATIENCE)
        answer: T = retrying(self._perform, call)
        return answer

    def _perform(self, call: Call[T], timeout: float | None = None) -> T:
        if call.before_send is not None:
            call.before_send()
        try:
            answer = self._exchange(call, timeout or self._request_timeout)
        except httpx.HTTPError as error:
            lost = call.lost(error)
        else:
            return self._api.read(call, answer)
        # Raised out here, because an httpx error in its context would hold the request, and with it the key.
        raise lost

    def _exchange(self, call: Call[T], timeout: float) -> Answer:
        # httpx counts its read timeout anew for every piece that arrives; a dripping server would never run into it.
        late = threading.Event()
        watchdog = threading.Timer(timeout, self._cut_connections, [late])
        watchdog.daemon = True
        watchdog.start()
        try:
            with own_request(self._api.api_key):
                response = self._http.request(
                    call.method,
                    call.url,
                    json=call.json,
                    params=call.params,
                    timeout=self._limits(timeout),
                    extensions={"trace": self._note_connection},
                )
        except httpx.HTTPError:
            if not late.is_set():
                raise
        finally:
            watchdog.cancel()
        if late.is_set():
            # Also if it seems to have ended well: that is what the end of a body of untold length looks like.
            raise httpx.ReadTimeout("the whole request took too long")
        return self._answer(response)

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.add(info["return_value"].get_extra_info("socket"))

    def _cut_connections(self, late: threading.Event) -> None:
        """End the request under way, from another thread. This client has one at a time, so all connections may go."""
        late.set()
        for each in tuple(self._sockets):
            with suppress(OSError):  # closed long ago
                each.shutdown(socket.SHUT_RDWR)
