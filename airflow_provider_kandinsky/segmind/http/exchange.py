"""Send one request with httpx and read its response within bounds."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from functools import cache
from http.cookiejar import CookieJar
from typing import Any

import httpx

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.constants import (
    CONNECT_TIMEOUT,
    IDLE_CONNECTION_LIFETIME,
    MAX_CONNECTIONS,
)
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.http.call import Call
from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.http.network import without_proxy
from airflow_provider_kandinsky.segmind.wire.bodies import UnreadBodyError, read_body
from airflow_provider_kandinsky.segmind.wire.response import Response

USER_AGENT = f"airflow-provider-kandinsky/{__version__}"


@cache
def ssl_context() -> ssl.SSLContext:
    """The one SSL context of this process. Building it blocks for some 20 ms."""
    return httpx.create_ssl_context()


class NoCookies(CookieJar):
    """A jar that stays empty; otherwise it could grow with every poll of a triggerer."""

    def extract_cookies(self, *_: object) -> None:
        """Ignore them."""


def http_client(urls: Iterable[str], accept: str, **options: Any) -> httpx.AsyncClient:
    """An httpx client that goes where it is sent, and nowhere else: no redirects, no cookies, no proxy for loopback.

    :param urls: what it is for.
    :param accept: the types of the responses that are wanted.
    :param options: further ones of httpx.
    """
    return httpx.AsyncClient(
        # A compressed body would have to be decompressed before its size is known.
        headers={"user-agent": USER_AGENT, "accept": accept, "accept-encoding": "identity"},
        cookies=NoCookies(),
        follow_redirects=False,
        mounts=without_proxy(urls),
        **options,
    )


def open_http(api: SegmindApi, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """The httpx client for one account.

    :param transport: replaces the network.
    """
    http = http_client(
        filter(None, (api.base_url, api.history_url)),
        "application/json, image/*",
        transport=transport,
        # A client that only ever uses plain http gets a context that trusts nobody, which takes no time to build.
        verify=ssl_context() if api.uses_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        limits=httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_CONNECTION_LIFETIME,
        ),
    )
    http.headers["x-api-key"] = api.api_key
    return http


async def exchange(
    http: httpx.AsyncClient, call: Call[Any], api_key: str, timeout: float, clock: Callable[[], float]
) -> Response:
    """Send a call once and read its response.

    :param timeout: seconds for the whole request.
    :param clock: wall clock, seconds since the epoch.
    :raises TimeoutError: the request took too long.
    """
    unread, content = "", b""
    # Connecting, or waiting for a free connection, must time out first: then it is known that nothing was sent.
    limits = httpx.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout / 2), pool=timeout / 2)
    with redact_request_logs(api_key):
        async with asyncio.timeout(timeout):
            request = http.build_request(call.method, call.url, json=call.json, params=call.params, timeout=limits)
            response = await http.send(request, stream=True)
            try:
                content = await read_body(response, call.max_bytes)
            except UnreadBodyError as error:
                unread = str(error)
            finally:
                await response.aclose()
    return Response(response.status_code, response.headers, content, clock(), unread)
