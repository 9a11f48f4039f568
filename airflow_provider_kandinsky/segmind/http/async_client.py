"""The service over HTTP, for thousands of jobs in one event loop.

Submissions and calls to the history are retried; see :class:`~.sender.RequestSender`. Other free calls are sent once:
the :class:`~.poller.JobPoller` decides when to poll again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import httpx

from airflow_provider_kandinsky.segmind.constants import (
    DEFAULT_BASE_URL,
    DEFAULT_MODEL,
    GENERATE_TIMEOUT,
    HISTORY_TIMEOUT,
    MAX_REQUESTS_IN_FLIGHT,
    REQUEST_TIMEOUT,
    WAIT_TIMEOUT,
)
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, KandinskyError, PermissionDeniedError
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.http.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from airflow_provider_kandinsky.segmind.http.sender import RequestSender, build_ssl_context
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller, PollPolicy
from airflow_provider_kandinsky.segmind.waiting.scheduler import PollScheduler
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


class AsyncSegmindClient:
    """The async client: the calls, parameters, results and errors of :class:`~.client.SegmindClient`.

    It may serve thousands of jobs in one event loop. Use as an async context manager, or :meth:`aclose` it.
    Create it by :meth:`create` inside an event loop, so that building the SSL context does not block the loop.

    :param api_key: the account's key; see :class:`~.api.SegmindApi` for it and the next three.
    :param request_timeout: seconds for one whole request, except the v1 call's.
    :param requests_per_minute: the plan's limit; ``None`` to slow down only after the service's 429s.
    :param retry_policy: for how long submissions and calls to the history are retried.
    :param poll_policy: how often jobs are polled, and the history is swept for them.
    :param read_key: reads the account's key again, for when it is changed while jobs are waited for.
    :param transport: an httpx transport that replaces the network.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        allow_insecure: bool = False,
        history_url: str | None = None,
        request_timeout: float = REQUEST_TIMEOUT,
        requests_per_minute: float | None = None,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        poll_policy: PollPolicy = DEFAULT_POLL_POLICY,
        read_key: Callable[[], Awaitable[str]] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sender = RequestSender(
            SegmindApi(api_key, base_url, allow_insecure, history_url),
            request_timeout=request_timeout,
            requests_per_minute=requests_per_minute,
            retry_policy=retry_policy,
            read_key=read_key,
            transport=transport,
            clock=clock,
            sleep=sleep,
        )
        self._clock = clock
        self._poll_policy = poll_policy
        self._poll_scheduler = PollScheduler(
            self._poll_once,
            workers=MAX_REQUESTS_IN_FLIGHT,
            read_page=self._read_page if self.has_history else None,
            sweep_policy=poll_policy.sweeps,
            has_room=self._sender.rate_limiter.has_room,
            submissions_wait=self._sender.rate_limiter.submissions_wait,
            clock=clock,
            sleep=sleep,
        )

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
        """Construct a client without blocking the event loop."""
        if SegmindApi(api_key, base_url, allow_insecure, history_url).uses_tls:
            await build_ssl_context()
        return cls(api_key, base_url, allow_insecure=allow_insecure, history_url=history_url, **settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and cancel all waits."""
        await self._poll_scheduler.aclose()
        await self._sender.aclose()

    @property
    def _api(self) -> SegmindApi:
        return self._sender.api

    @property
    def base_url(self) -> str:
        """Where the requests go; part of a submission's fingerprint."""
        return self._api.base_url

    @property
    def has_history(self) -> bool:
        """Whether there is a request history."""
        return self._api.history_url is not None

    async def submit(
        self,
        request: TextToImageRequest,
        model: str = DEFAULT_MODEL,
        *,
        send_by: float | None = None,
        on_send: Callable[[float], None] | None = None,
    ) -> Job:
        """See :meth:`~.client.SegmindClient.submit`."""
        return await self._sender.send_with_retries(self._api.submit(request, model, on_send), send_by)

    async def get_status(self, request_id: str) -> JobStatus:
        """See :meth:`~.client.SegmindClient.get_status`."""
        return await self._sender.send(self._api.status(request_id))

    async def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.get_result`."""
        return await self._sender.send(self._api.result(request_id, model))

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
        samples: int | None = None,
    ) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.poll_until_done`."""
        poller = JobPoller(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            policy=self._poll_policy,
        )
        return await self._poll_scheduler.poll_until_done(poller, model, samples)

    async def _read_page(self, model: str, since: float, page: int) -> list[PastRequest]:
        return await self._sender.send(self._api.history(model, since, page), HISTORY_TIMEOUT)

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
        """See :meth:`~.sender.RequestSender.refresh_key`."""
        return await self._sender.refresh_key()

    async def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """See :meth:`~.client.SegmindClient.generate`."""
        return await self._sender.send(self._api.generate(request, model), GENERATE_TIMEOUT)

    async def get_credits(self) -> Credits:
        """See :meth:`~.client.SegmindClient.get_credits`."""
        return await self._sender.send(self._api.credits())

    async def list_models(self) -> list[str]:
        """See :meth:`~.client.SegmindClient.list_models`."""
        return await self._sender.send(self._api.models())

    async def get_history(
        self, model: str, since: float, page: int = 1, *, until: float | None = None
    ) -> list[PastRequest]:
        """See :meth:`~.client.SegmindClient.get_history`."""
        return await self._sender.send_with_retries(self._api.history(model, since, page, until))

    async def get_past_request(self, request_id: str) -> PastRequest | None:
        """See :meth:`~.client.SegmindClient.get_past_request`."""
        return await self._sender.send_with_retries(self._api.past_request(request_id))
