"""Download images: without the API key, only from allowed hosts, and only up to a size.

The URLs come from responses of the service, so they are not trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import IO, Final, Self

import httpx
import tenacity

from airflow_provider_kandinsky.segmind.constants import (
    CONNECT_TIMEOUT,
    LARGEST_IMAGE,
    REQUEST_TIMEOUT,
    SUBMIT_RETRY_TIMEOUT,
)
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError, ImageUnavailableError
from airflow_provider_kandinsky.segmind.http.call import TRANSPORT_ERRORS
from airflow_provider_kandinsky.segmind.http.exchange import http_client, ssl_context
from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.http.network import describe_failure, is_loopback, origin
from airflow_provider_kandinsky.segmind.http.retry import DEFAULT_RETRY_POLICY
from airflow_provider_kandinsky.segmind.wire.bodies import UnreadBodyError, raw_chunks
from airflow_provider_kandinsky.segmind.wire.images import image_extension, is_complete

#: Bytes from which :func:`~.images.image_extension` finds the type.
_HEADER_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """Which images may be downloaded, and the limits of each download.

    :param hosts: see :func:`check_image_url`.
    :param retry_timeout: seconds between the tries of one image, in sum at most.
    :param max_bytes: the largest image.
    :param timeout: seconds for one whole try; httpx restarts the next one with every chunk.
    :param read_timeout: seconds between two chunks.
    :param connect_timeout: seconds to connect.
    """

    hosts: frozenset[str]
    retry_timeout: float = SUBMIT_RETRY_TIMEOUT
    max_bytes: int = LARGEST_IMAGE
    timeout: float = 60.0
    read_timeout: float = REQUEST_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT


def check_image_url(url: str, hosts: Collection[str], request_id: str | None = None) -> None:
    """Check that an image may be downloaded from a URL: over https, or over http from loopback.

    :param hosts: the allowed hosts, each with its port unless that is 443.
    :param request_id: the job, for the error.
    :raises ImageRefusedError: it may not.
    """
    try:
        place = origin(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ImageRefusedError(f"Invalid image URL: {url:.200}", request_id=request_id) from None
    if place.scheme != "https" and not (place.scheme == "http" and is_loopback(place.host)):
        raise ImageRefusedError(f"The image is not served over https: {url:.200}", request_id=request_id)
    if str(place) not in {str(origin(f"https://{host}")) for host in hosts}:
        raise ImageRefusedError(
            f"The image is at {str(place)!r}, which is not an allowed host ({', '.join(sorted(hosts))}); add it to "
            "image_hosts in the connection if you trust it",
            request_id=request_id,
        )


def browser_url(url: str, hosts: Collection[str]) -> str:
    """The URL of an image for a browser to open.

    :param hosts: the allowed hosts.
    :return: the URL as it was parsed here, so that a browser cannot parse it differently; without a user name and a
        fragment.
    :raises ImageRefusedError: see :func:`check_image_url`.
    """
    check_image_url(url, hosts)
    return str(httpx.URL(url).copy_with(userinfo=b"", fragment=None))


class ImageDownloader:
    """Downloads images, many at a time. Use as an async context manager.

    :param policy: the allowed hosts and the limits.
    :param sleep: how to wait between tries.
    """

    def __init__(
        self,
        policy: DownloadPolicy,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._policy = policy
        self._sleep = sleep
        self._http = http_client(
            (f"https://{host}" for host in policy.hosts),
            "image/*",
            timeout=httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout),
            verify=ssl_context(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def fetch(self, url: str, into: IO[bytes], request_id: str | None) -> str:
        """Stream an image into an empty file.

        :param into: seekable; what a failed try has written is discarded.
        :param request_id: the job, for the errors.
        :return: the type by content; see :func:`~.images.image_extension`.
        :raises ImageRefusedError: the URL is not allowed, or what is there is not an image, too large or compressed.
        :raises ImageUnavailableError: no try fetched a complete image.
        """
        check_image_url(url, self._policy.hosts, request_id)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(ImageUnavailableError),
            wait=DEFAULT_RETRY_POLICY.wait,
            stop=lambda attempt: attempt.idle_for + attempt.upcoming_sleep > self._policy.retry_timeout,
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
            async with asyncio.timeout(self._policy.timeout), self._http.stream("GET", url) as response:
                if response.status_code != 200:
                    raise ImageUnavailableError(
                        f"The image could not be fetched from {url:.200}",
                        http_status=response.status_code,
                        request_id=request_id,
                    )
                async for chunk in raw_chunks(response, self._policy.max_bytes):
                    into.write(chunk)
        except UnreadBodyError as error:
            raise ImageRefusedError(
                f"The image at {url:.200} is not stored, because {error}", request_id=request_id
            ) from error
        except (TimeoutError, *TRANSPORT_ERRORS) as error:
            raise ImageUnavailableError(
                f"The image could not be fetched from {url:.200} ({describe_failure(error)})", request_id=request_id
            ) from error
        into.seek(0)
        extension = image_extension(into.read(_HEADER_SIZE))
        if extension is None:
            raise ImageRefusedError(f"What is at {url:.200} is not an image", request_id=request_id)
        if not is_complete(into, extension):
            raise ImageUnavailableError(f"The image at {url:.200} is incomplete", request_id=request_id)
        into.seek(0)
        return extension
