"""The service over HTTP, for thousands of jobs in one event loop: around :mod:`.api`, :mod:`~.segmind.wire`,
:mod:`~.poller`.

A POST is money. It is sent again only if it cannot have arrived or was refused as rate limited, and only for as
long as :data:`~.base_client.SUBMIT_RETRY_TIMEOUT`; all else that befalls it is an error. Calls to the history are
retried for as long. The other free calls are sent once: who waits for a job has the :class:`~.poller.JobPoller` to say
when to poll again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Self, TypeVar

import httpx
import tenacity

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    KandinskyError,
    PermissionDeniedError,
    RateLimitedError,
)
from airflow_provider_kandinsky.segmind.http.api import DEFAULT_BASE_URL, TRANSPORT_ERRORS, Call, SegmindApi
from airflow_provider_kandinsky.segmind.http.base_client import (
    GENERATE_TIMEOUT,
    MAX_CONNECTIONS,
    WAIT_TIMEOUT,
    BaseClient,
    no_ssl_context,
    patience,
    ssl_context,
)
from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.http.rate_limit import RateLimiter
from airflow_provider_kandinsky.segmind.schemas import (
    DEFAULT_MODEL,
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.waiting.scheduler import PollScheduler
from airflow_provider_kandinsky.segmind.wire.bodies import UnreadBodyError, read_body
from airflow_provider_kandinsky.segmind.wire.error_mapping import Response
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The key is read again after a 401 or 403 on a poll, at most once in so many seconds.
KEY_REFRESH_INTERVAL: Final = 30.0


class AsyncSegmindClient(BaseClient):
    """The async client: the calls, parameters, results and errors of :class:`~.client.SegmindClient`.

    It may serve thousands of jobs in one event loop. Use as an async context manager, or :meth:`aclose` it.
    Create it by :meth:`create` inside an event loop, which keeps the building of the SSL context off the loop.

    The settings are those of :class:`~.base_client.BaseClient` and these.

    :param transport: an httpx transport, in place of the network.
    :param sleep: how to wait.
    :param requests_per_minute: the plan's limit; ``None`` to be slowed down by the service's 429s alone.
    :param read_key: reads the account's key again, for when it was changed while jobs are waited for.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        requests_per_minute: float | None = None,
        read_key: Callable[[], Awaitable[str]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(api_key, base_url, **settings)
        self._sleep = sleep
        self._read_key = read_key
        self._key_read_at = -KEY_REFRESH_INTERVAL
        self._rate_limiter = RateLimiter(requests_per_minute, at_once=MAX_CONNECTIONS, clock=self._clock, sleep=sleep)
        self._poll_scheduler = PollScheduler(self._poll_once, workers=MAX_CONNECTIONS, clock=self._clock, sleep=sleep)
        verify = ssl_context() if self._api.uses_tls else no_ssl_context()
        self._http = httpx.AsyncClient(transport=transport, verify=verify, **self._http_options())

    @classmethod
    async def create(
        cls,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        allow_insecure: bool = False,
        history_url: str | None = None,
        **settings: Any,
    ) -> Self:
        """Construct without holding up the event loop."""
        if SegmindApi(api_key, base_url, allow_insecure, history_url).uses_tls:
            await asyncio.to_thread(ssl_context)
        return cls(api_key, base_url, allow_insecure=allow_insecure, history_url=history_url, **settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; who still waits for a job is cancelled."""
        await self._poll_scheduler.aclose()
        await self._http.aclose()

    async def submit(
        self,
        request: TextToImageRequest,
        model: str = DEFAULT_MODEL,
        *,
        send_by: float | None = None,
        on_send: Callable[[float], None] | None = None,
    ) -> Job:
        """See :meth:`~.client.SegmindClient.submit`."""
        call = self._api.submit(request, model, self._before_send(send_by, on_send))
        return await self._send_with_retries(call, send_by)

    async def get_status(self, request_id: str) -> JobStatus:
        """See :meth:`~.client.SegmindClient.get_status`."""
        return await self._perform(self._api.status(request_id))

    async def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.get_result`."""
        return await self._perform(self._api.result(request_id, model))

    async def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.wait`."""
        now = self._clock()
        return await self.poll_until_done(request_id, model, submitted_at=now, deadline=now + timeout)

    async def poll_until_done(
        self,
        request_id: str,
        model: str | None = None,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
    ) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.poll_until_done`."""
        return await self._poll_scheduler.poll_until_done(
            self._poller(request_id, submitted_at, deadline, poll_interval), model
        )

    async def _poll_once(self, poller: JobPoller, model: str | None) -> GenerationResult | float:
        try:
            if not poller.completed:
                pause = poller.on_status(await self.get_status(poller.request_id), self._clock())
                if not poller.completed:
                    return pause
            result = await self.get_result(poller.request_id, model)
        except KandinskyError as error:
            if isinstance(error, (AuthenticationError, PermissionDeniedError)):
                await self.refresh_key()
            return poller.on_error(error, self._clock())
        return poller.on_result(result)

    async def refresh_key(self) -> bool:
        """Read the account's key again, at most once in 30 seconds.

        :return: whether there is another key now, with which all of this client's calls go on.
        """
        if self._read_key is None or self._clock() - self._key_read_at < KEY_REFRESH_INTERVAL:
            return False
        self._key_read_at = self._clock()
        before = self._api
        try:
            self._api = replace(before, api_key=await self._read_key())
        except Exception as error:  # noqa: BLE001  a secrets backend may raise anything; jobs are waited for anyway
            # What a backend says may hold the key.
            reason = str(error) if isinstance(error, KandinskyError) else type(error).__name__
            log.warning("The API key was refused and could not be read again; the old one is used on: %s", reason)
            return False
        self._http.headers["x-api-key"] = self._api.api_key
        if is_another := self._api.api_key != before.api_key:
            log.info("The API key was refused and has been changed since; going on with the new one")
        return is_another

    async def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.generate`."""
        return await self._perform(self._api.generate(request, model), GENERATE_TIMEOUT)

    async def get_credits(self) -> Credits:
        """See :meth:`~.client.SegmindClient.get_credits`."""
        return await self._perform(self._api.credits())

    async def get_history(
        self, model: str, since: float, page: int = 1, *, until: float | None = None
    ) -> list[PastRequest]:
        """See :meth:`~.client.SegmindClient.get_history`."""
        return await self._send_with_retries(self._api.history(model, since, page, until))

    async def get_past_request(self, request_id: str) -> PastRequest | None:
        """See :meth:`~.client.SegmindClient.get_past_request`."""
        return await self._send_with_retries(self._api.past_request(request_id))

    async def _send_with_retries(self, call: Call[T], send_by: float | None = None) -> T:
        retrying = tenacity.AsyncRetrying(sleep=self._sleep, **patience(self._clock, send_by))
        answer: T = await retrying(self._perform, call, send_by=send_by)
        return answer

    async def _perform(self, call: Call[T], timeout: float | None = None, send_by: float | None = None) -> T:
        async with self._rate_limiter.slot(call.rank, send_by):
            if call.before_send is not None:
                call.before_send()
                await asyncio.sleep(0)  # who was cancelled meanwhile, by an execution timeout, is not sent
            api = self._api  # a key that is changed meanwhile is not the one that this answer may repeat
            try:
                answer = await self._exchange(call, timeout or self._request_timeout)
            except TimeoutError:
                lost = call.transport_error(httpx.ReadTimeout("the whole request took too long"))
            except TRANSPORT_ERRORS as error:
                lost = call.transport_error(error)
            else:
                return self._read(api, call, answer)
        # Raised out here, because an httpx error in its context would hold the request, and with it the key.
        raise lost

    def _read(self, api: SegmindApi, call: Call[T], answer: Response) -> T:
        try:
            return api.read(call, answer)
        except RateLimitedError as error:
            self._rate_limiter.pause_for(error)
            raise

    async def _exchange(self, call: Call[T], timeout: float) -> Response:
        unread, content = "", b""
        with redact_request_logs(self._api.api_key):
            async with asyncio.timeout(timeout):
                request = self._http.build_request(
                    call.method, call.url, json=call.json, params=call.params, timeout=self._limits(timeout)
                )
                response = await self._http.send(request, stream=True)
                try:
                    content = await read_body(response, call.max_bytes)
                except UnreadBodyError as error:
                    unread = str(error)
                finally:
                    await response.aclose()
        return Response(response.status_code, response.headers, content, self._clock(), unread)
