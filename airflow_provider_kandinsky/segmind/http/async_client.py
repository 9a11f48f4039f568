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
    HISTORY_TIMEOUT,
    MAX_REQUESTS_IN_FLIGHT,
    REQUEST_TIMEOUT,
    WAIT_TIMEOUT,
)
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, KandinskyError, PermissionDeniedError
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.http.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from airflow_provider_kandinsky.segmind.http.sender import RequestSender, build_ssl_context
from airflow_provider_kandinsky.segmind.http.single_calls import SingleCalls
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller, PollPolicy
from airflow_provider_kandinsky.segmind.waiting.scheduler import PollScheduler
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


class AsyncSegmindClient(SingleCalls):
    """The async client.

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
        sender = RequestSender(
            SegmindApi(api_key, base_url, allow_insecure, history_url),
            request_timeout=request_timeout,
            requests_per_minute=requests_per_minute,
            retry_policy=retry_policy,
            read_key=read_key,
            transport=transport,
            clock=clock,
            sleep=sleep,
        )
        super().__init__(sender)
        self._clock = clock
        self._poll_policy = poll_policy
        self._poll_scheduler = PollScheduler(
            self._poll_once,
            workers=MAX_REQUESTS_IN_FLIGHT,
            read_page=self._read_page if self.has_history else None,
            sweep_policy=poll_policy.sweeps,
            has_room=sender.rate_limiter.has_room,
            submissions_wait=sender.rate_limiter.submissions_wait,
            clock=clock,
            sleep=sleep,
        )

    @classmethod
    async def create(cls, api_key: str, base_url: str = DEFAULT_BASE_URL, **settings: Any) -> Self:
        """Construct a client, with the settings above, without blocking the event loop."""
        api = SegmindApi(api_key, base_url, settings.get("allow_insecure", False), settings.get("history_url"))
        if api.uses_tls:
            await build_ssl_context()
        return cls(api_key, base_url, **settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and cancel all waits."""
        await self._poll_scheduler.aclose()
        await self._sender.aclose()

    async def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Poll a job until it has finished, at the intervals of :class:`~.poller.JobPoller`, and fetch its result.

        :param timeout: seconds from now.
        :raises JobTimeoutError: not finished in time. The job may still be running, and will then be billed.
        :raises KandinskyError: as :meth:`get_status` and :meth:`get_result`; temporary errors are waited out.
        """
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
        """As :meth:`wait`, with the parameters of :class:`~.poller.JobPoller`.

        Where several jobs are waited for and there is a request history, sweeps over that replace most polls.

        :param model: the slug, for the result; the service does not return it.
        :param samples: how many images the job makes, all as URLs; ``None`` if that is not known, so that its result
            is always fetched.
        :raises KandinskyError: as for :meth:`wait`.
        """
        poller = JobPoller(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            policy=self._poll_policy,
        )
        return await self._poll_scheduler.poll_until_done(poller, model, samples)

    async def _read_page(self, model: str, since: float, page: int) -> list[PastRequest]:
        return await self._sender.send(self._sender.api.history(model, since, page), HISTORY_TIMEOUT)

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
