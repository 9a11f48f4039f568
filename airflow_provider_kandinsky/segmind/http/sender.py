"""Send the calls of one account: rate limited, retried, with a key that may change.

A POST costs money. It is retried only if it cannot have arrived or was rate limited, and only for as long as the
:class:`~.retry.RetryPolicy` says; any other failure is raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cached_property
from typing import Final, TypeVar

import httpx
import tenacity

from airflow_provider_kandinsky.segmind.constants import MAX_REQUESTS_IN_FLIGHT
from airflow_provider_kandinsky.segmind.errors import KandinskyError, RateLimitedError
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.http.call import TRANSPORT_ERRORS, Call
from airflow_provider_kandinsky.segmind.http.exchange import exchange, open_http, ssl_context
from airflow_provider_kandinsky.segmind.http.rate_limit import RateLimiter, sent_too_late
from airflow_provider_kandinsky.segmind.http.retry import RetryPolicy

log = logging.getLogger(__name__)

T = TypeVar("T")

#: After a 401 or 403 on a poll the key is read again, at most once in this many seconds.
KEY_REFRESH_INTERVAL: Final = 30.0

#: The history is another host, with a limit of its own that is not known. So much keeps up with 10 000 jobs.
HISTORY_REQUESTS_PER_MINUTE: Final = 1_200.0
HISTORY_AT_ONCE: Final = 4


async def build_ssl_context() -> None:
    """Build the one SSL context of this process in a thread, so that it does not block the event loop."""
    await asyncio.to_thread(ssl_context)


class RequestSender:
    """Sends calls; see :class:`~.async_client.AsyncSegmindClient` for the parameters.

    :param request_timeout: seconds for one whole request, unless a call is sent with another.
    """

    def __init__(
        self,
        api: SegmindApi,
        *,
        request_timeout: float,
        requests_per_minute: float | None,
        retry_policy: RetryPolicy,
        read_key: Callable[[], Awaitable[str]] | None,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.api = api
        self._request_timeout = request_timeout
        self._retry_policy = retry_policy
        self._read_key = read_key
        self._key_read_at = -KEY_REFRESH_INTERVAL
        self._clock = clock
        self._sleep = sleep
        self.rate_limiter = RateLimiter(requests_per_minute, at_once=MAX_REQUESTS_IN_FLIGHT, clock=clock, sleep=sleep)
        self._history_rate_limiter = RateLimiter(
            HISTORY_REQUESTS_PER_MINUTE, at_once=HISTORY_AT_ONCE, clock=clock, sleep=sleep
        )
        self._transport = transport
        self._is_closed = False

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        """Opened by the first call: many a client is asked for nothing but its base URL."""
        if self._is_closed:
            raise RuntimeError("The client has been closed")
        return open_http(self.api, self._transport)

    async def aclose(self) -> None:
        """Close the connections."""
        self._is_closed = True
        if "_http" in self.__dict__:
            await self._http.aclose()

    async def refresh_key(self) -> bool:
        """Read the account's key again, at most once in 30 seconds.

        :return: whether the key has changed; if so, all calls of this client use the new one.
        """
        if self._read_key is None or self._clock() - self._key_read_at < KEY_REFRESH_INTERVAL:
            return False
        self._key_read_at = self._clock()
        before = self.api
        try:
            self.api = replace(before, api_key=await self._read_key())
        except Exception as error:  # noqa: BLE001  a secrets backend may raise anything, and the jobs are still waited for
            # A backend's message may contain the key.
            reason = str(error) if isinstance(error, KandinskyError) else type(error).__name__
            log.warning("The API key was rejected and could not be read again; continuing with the old one: %s", reason)
            return False
        self._http.headers["x-api-key"] = self.api.api_key
        if has_changed := self.api.api_key != before.api_key:
            log.info("The API key was rejected and has changed since; continuing with the new one")
        return has_changed

    async def send_with_retries(self, call: Call[T], send_by: float | None = None) -> T:
        """Send a call, again if nothing was accepted, and read its response.

        :param send_by: wall clock, seconds since the epoch; a call that cannot be sent by then is not sent at all.
        """
        retrying = tenacity.AsyncRetrying(sleep=self._sleep, **self._retry_policy.options(self._clock, send_by))
        value: T = await retrying(self.send, call, send_by=send_by)
        return value

    async def send(self, call: Call[T], timeout: float | None = None, send_by: float | None = None) -> T:
        """Send a call once and read its response; see :meth:`send_with_retries`.

        :param timeout: seconds for the whole request.
        """
        rate_limiter = self._history_rate_limiter if call.is_history else self.rate_limiter
        async with rate_limiter.slot(call.rank, send_by):
            now = self._clock()
            if send_by is not None and now > send_by:
                raise sent_too_late()
            if call.on_send is not None:
                call.on_send(now)
                await asyncio.sleep(0)  # a call that was cancelled meanwhile, by an execution timeout, is not sent
            api = self.api  # the key may change before the response, which may echo the one that was sent
            try:
                response = await exchange(self._http, call, api.api_key, timeout or self._request_timeout, self._clock)
                return call.read_redacted(response, api.api_key)
            except RateLimitedError as error:
                rate_limiter.pause_for(error)
                raise
            except TimeoutError:
                lost = call.transport_error(httpx.ReadTimeout("the whole request took too long"))
            except TRANSPORT_ERRORS as error:
                lost = call.transport_error(error)
        # Raised here, because an httpx error as its context would hold the request, and with it the key.
        raise lost
