"""Fetch finished pictures: without the API key, from hosts that are known, and no more than a picture's worth.

The URLs come out of an answer, so they are treated as what they are: text from elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import IO, Final, Self

import httpx
import tenacity

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError, ImageUnavailableError
from airflow_provider_kandinsky.segmind.http.api import TRANSPORT_ERRORS
from airflow_provider_kandinsky.segmind.http.base_client import (
    CONNECT_TIMEOUT,
    REQUEST_TIMEOUT,
    NoCookies,
    next_wait,
    ssl_context,
)
from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.http.network import describe_failure, is_loopback, origin, without_proxy
from airflow_provider_kandinsky.segmind.wire.bodies import MEGABYTE, UnreadBodyError, raw_chunks
from airflow_provider_kandinsky.segmind.wire.images import image_extension, is_whole

IMAGE_HOST: Final = "images.segmind.com"
LARGEST_IMAGE: Final = 32 * MEGABYTE
#: Seconds for one whole picture; httpx counts its own limit anew for every piece that arrives.
FETCH_TIMEOUT: Final = 60.0
_TRIES: Final = 5
_ENOUGH_TO_TELL: Final = 16


def check_image_url(url: str, hosts: Collection[str], request_id: str | None = None) -> None:
    """Check that a picture may be fetched from a URL: over https, or over http from this machine.

    :param hosts: the hosts that pictures may come from, each with its port where that is not 443.
    :param request_id: the job, for the error.
    :raises ImageRefusedError: it may not.
    """
    try:
        place = origin(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ImageRefusedError(f"The picture's URL is none: {url:.200}", request_id=request_id) from None
    if place.scheme != "https" and not (place.scheme == "http" and is_loopback(place.host)):
        raise ImageRefusedError(f"The picture is not served over https: {url:.200}", request_id=request_id)
    if (place.host, place.port) not in {_host_and_port(host) for host in hosts}:
        raise ImageRefusedError(
            f"The picture is at {str(place)!r}, which is not among the hosts that pictures may come from "
            f"({', '.join(sorted(hosts))}); add it to image_hosts in the connection if you trust it",
            request_id=request_id,
        )


def _host_and_port(host: str) -> tuple[str, int | None]:
    _, name, port = origin(f"https://{host}")
    return name, port


def browser_url(url: str, hosts: Collection[str]) -> str:
    """The URL of an image for a browser to open.

    :param hosts: the hosts that pictures may come from.
    :return: the URL as it was understood here, so that no browser can understand it in another way; without a user name
        and a fragment.
    :raises ImageRefusedError: see :func:`check_image_url`.
    """
    check_image_url(url, hosts)
    return str(httpx.URL(url).copy_with(userinfo=b"", fragment=None))


class ImageDownloader:
    """A client for pictures, of which it may fetch many at a time. Use as an async context manager.

    :param hosts: see :func:`check_image_url`.
    :param sleep: how to wait between tries.
    """

    def __init__(self, hosts: Collection[str], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._hosts = frozenset(hosts)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            headers={
                "user-agent": f"airflow-provider-kandinsky/{__version__}",
                "accept": "image/*",
                "accept-encoding": "identity",
            },
            cookies=NoCookies(),
            timeout=httpx.Timeout(REQUEST_TIMEOUT, connect=CONNECT_TIMEOUT),
            verify=ssl_context(),
            follow_redirects=False,
            mounts=without_proxy(f"https://{host}" for host in self._hosts),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def fetch(self, url: str, into: IO[bytes], request_id: str | None) -> str:
        """Stream a picture into an empty file.

        :param into: seekable; what a failed try has left in it is thrown away.
        :param request_id: the job, for the errors.
        :return: the type by content; see :func:`~.images.image_extension`.
        :raises ImageRefusedError: the URL may not be fetched, or gave something that is no image, too large or packed.
        :raises ImageUnavailableError: it could not be fetched, or was cut off, in several tries.
        """
        check_image_url(url, self._hosts, request_id)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(ImageUnavailableError),
            wait=next_wait,
            stop=tenacity.stop_after_attempt(_TRIES),
            sleep=self._sleep,
            reraise=True,
        )
        with redact_request_logs():
            extension: str = await retrying(self._try_to_fetch, url, into, request_id)
        return extension

    async def _try_to_fetch(self, url: str, into: IO[bytes], request_id: str | None) -> str:
        into.seek(0)
        into.truncate()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT), self._http.stream("GET", url) as response:
                if response.status_code != 200:
                    raise ImageUnavailableError(
                        f"The picture could not be fetched from {url:.200}",
                        http_status=response.status_code,
                        request_id=request_id,
                    )
                async for chunk in raw_chunks(response, LARGEST_IMAGE):
                    into.write(chunk)
        except UnreadBodyError as error:
            raise ImageRefusedError(
                f"The image at {url:.200} is not stored, because {error}", request_id=request_id
            ) from error
        except (TimeoutError, *TRANSPORT_ERRORS) as error:
            raise ImageUnavailableError(
                f"The picture could not be fetched from {url:.200} ({describe_failure(error)})", request_id=request_id
            ) from error
        into.seek(0)
        extension = image_extension(into.read(_ENOUGH_TO_TELL))
        if extension is None:
            raise ImageRefusedError(f"What is at {url:.200} is not a picture", request_id=request_id)
        if not is_whole(into, extension):
            raise ImageUnavailableError(f"The picture at {url:.200} is cut off", request_id=request_id)
        into.seek(0)
        return extension
