"""What the async client is made of, but for the waiting: its settings, its patience, its options for httpx."""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Callable
from functools import cache
from http.cookiejar import CookieJar
from typing import Any, Final

import httpx
import tenacity

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.errors import RateLimitedError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.api import DEFAULT_BASE_URL, SegmindApi
from airflow_provider_kandinsky.segmind.http.network import without_proxy
from airflow_provider_kandinsky.segmind.http.rate_limit import sent_too_late
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller, PollPolicy

log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 5.0
REQUEST_TIMEOUT: Final = 30.0
#: The blocking v1 call lasts as long as the painting, a cold start of minutes included.
GENERATE_TIMEOUT: Final = 600.0
WAIT_TIMEOUT: Final = 900.0
#: How many seconds a call may spend waiting to be sent again.
SUBMIT_RETRY_TIMEOUT: Final = 20.0
MAX_CONNECTIONS: Final = 20


@cache
def ssl_context() -> ssl.SSLContext:
    """The one SSL context of this process. Building one takes some 20 ms, in which no event loop runs."""
    return httpx.create_ssl_context()


def no_ssl_context() -> ssl.SSLContext:
    """One that trusts nobody, for a client that only ever talks plain http: building it takes no time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class NoCookies(CookieJar):
    """A jar that takes none: one that filled at every poll would grow for as long as a triggerer runs."""

    def extract_cookies(self, *_: object) -> None:
        """Do not even read them."""


def next_wait(attempt: tenacity.RetryCallState) -> float:
    """Seconds until a call is sent again: as told, else 1, 2, 4 and then 8, with up to one more against step."""
    error = attempt.outcome.exception() if attempt.outcome else None
    jitter = random.random()
    if isinstance(error, RateLimitedError) and error.retry_after is not None:
        return error.retry_after + jitter
    return float(2 ** min(attempt.attempt_number - 1, 3)) + jitter


def _out_of_patience(attempt: tenacity.RetryCallState) -> bool:
    # Whichever is longer: a test's sleeps take no time, and connections that hang are not sleeps.
    spent = max(attempt.idle_for, attempt.seconds_since_start or 0.0)
    return spent + attempt.upcoming_sleep > SUBMIT_RETRY_TIMEOUT


def _log_retry(attempt: tenacity.RetryCallState) -> None:
    # Unlike above, tenacity has added the sleep to the idle time by now.
    spent = max(attempt.idle_for, (attempt.seconds_since_start or 0.0) + attempt.upcoming_sleep)
    error = attempt.outcome.exception() if attempt.outcome else None
    log.info(
        "Trying again in %.1f s, and then for %.0f s: %s", attempt.upcoming_sleep, SUBMIT_RETRY_TIMEOUT - spent, error
    )


def patience(clock: Callable[[], float], send_by: float | None = None) -> dict[str, Any]:
    """How often a call is tried, as arguments of tenacity.

    For a submission ServiceUnavailableError means that nothing was sent; see :meth:`~.api.Call.transport_error`.

    :param clock: wall clock, seconds since the epoch.
    :param send_by: when the last try has to have left, by that clock; ``None`` if it does not matter.
    """

    def is_over(attempt: tenacity.RetryCallState) -> bool:
        is_late = send_by is not None and clock() + attempt.upcoming_sleep > send_by
        return is_late or _out_of_patience(attempt)

    return {
        "retry": tenacity.retry_if_exception_type((RateLimitedError, ServiceUnavailableError)),
        "wait": next_wait,
        "stop": is_over,
        "before_sleep": _log_retry,
        "reraise": True,
    }


class BaseClient:
    """The base of the client.

    :param api_key: the account's key; see :class:`~.api.SegmindApi` for it and the next three.
    :param request_timeout: seconds for one whole request, except the v1 call's.
    :param poll_policy: how often jobs are polled.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        allow_insecure: bool = False,
        history_url: str | None = None,
        request_timeout: float = REQUEST_TIMEOUT,
        poll_policy: PollPolicy = DEFAULT_POLL_POLICY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = SegmindApi(api_key, base_url, allow_insecure, history_url)
        self._request_timeout = request_timeout
        self._poll_policy = poll_policy
        self._clock = clock

    @property
    def base_url(self) -> str:
        """Where the requests go; part of a purchase's fingerprint."""
        return self._api.base_url

    @property
    def has_history(self) -> bool:
        """Whether there is a request history to ask."""
        return self._api.history_url is not None

    def _poller(self, request_id: str, submitted_at: float, deadline: float, poll_interval: float | None) -> JobPoller:
        return JobPoller(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            policy=self._poll_policy,
        )

    def _before_send(self, send_by: float | None, on_send: Callable[[float], None] | None) -> Callable[[], None] | None:
        if send_by is None and on_send is None:
            return None

        def check() -> None:
            now = self._clock()
            if send_by is not None and now > send_by:
                raise sent_too_late()
            if on_send is not None:
                on_send(now)

        return check

    def _http_options(self) -> dict[str, Any]:
        return {
            "headers": {
                "x-api-key": self._api.api_key,
                "user-agent": f"airflow-provider-kandinsky/{__version__}",
                "accept": "application/json, image/*",
                # What is packed would have to be unpacked before its size is known.
                "accept-encoding": "identity",
            },
            "limits": httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
            "follow_redirects": False,
            "mounts": without_proxy(filter(None, (self._api.base_url, self._api.history_url))),
            "cookies": NoCookies(),
        }

    @staticmethod
    def _limits(timeout: float) -> httpx.Timeout:
        """The limits of one request's parts. To connect, and to find a free connection, have to fail before the whole
        request does: then it is known that nothing was sent."""
        return httpx.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout / 2), pool=timeout / 2)
