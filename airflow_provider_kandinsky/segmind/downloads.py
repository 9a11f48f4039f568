"""Fetch finished pictures: without the API key, from hosts that are known, and no more than a picture's worth.

The URLs come out of an answer, so they are treated as what they are: text from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import IO, Final

import httpx
import tenacity

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.calls import is_loopback
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError, ImageUnavailableError
from airflow_provider_kandinsky.segmind.images import image_extension
from airflow_provider_kandinsky.segmind.shell import CONNECT_TIMEOUT, REQUEST_TIMEOUT, next_wait, ssl_context

IMAGE_HOST: Final = "images.segmind.com"
LARGEST_IMAGE: Final = 32 * 2**20
_TRIES: Final = 5
_ENOUGH_TO_TELL: Final = 16


class ImageDownloader:
    """A client for pictures. Use as a context manager.

    :param hosts: the hosts that pictures may come from.
    :param sleep: how to wait between tries.
    """

    def __init__(self, hosts: Collection[str], *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._hosts = frozenset(hosts)
        self._sleep = sleep
        self._http = httpx.Client(
            headers={"user-agent": f"airflow-provider-kandinsky/{__version__}", "accept": "image/*"},
            timeout=httpx.Timeout(REQUEST_TIMEOUT, connect=CONNECT_TIMEOUT),
            verify=ssl_context(),
            follow_redirects=False,
        )

    def __enter__(self) -> ImageDownloader:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fetch(self, url: str, into: IO[bytes], request_id: str | None) -> str:
        """Stream a picture into an empty file.

        :param into: seekable; what a failed try has left in it is thrown away.
        :param request_id: the job, for the errors.
        :return: the type by content: ``"png"``, ``"jpeg"``, ``"webp"`` or ``"gif"``.
        :raises ImageRefusedError: the URL may not be fetched, or gave something that is no picture, or too large.
        :raises ImageUnavailableError: it could not be fetched, in several tries.
        """
        self._check(url, request_id)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(ImageUnavailableError),
            wait=next_wait,
            stop=tenacity.stop_after_attempt(_TRIES),
            sleep=self._sleep,
            reraise=True,
        )
        extension: str = retrying(self._try_to_fetch, url, into, request_id)
        return extension

    def _check(self, url: str, request_id: str | None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            raise ImageRefusedError(f"The picture's URL is none: {url:.200}", request_id=request_id) from None
        if parsed.host not in self._hosts:
            raise ImageRefusedError(
                f"The picture is at {parsed.host!r}, which is not among the hosts that pictures may come from "
                f"({', '.join(sorted(self._hosts))}); add it to image_hosts in the connection if you trust it",
                request_id=request_id,
            )
        if parsed.scheme != "https" and not (parsed.scheme == "http" and is_loopback(parsed.host)):
            raise ImageRefusedError(f"The picture is not served over https: {url:.200}", request_id=request_id)

    def _try_to_fetch(self, url: str, into: IO[bytes], request_id: str | None) -> str:
        into.seek(0)
        into.truncate()
        try:
            with self._http.stream("GET", url) as response:
                if response.status_code != 200:
                    raise ImageUnavailableError(
                        f"The picture could not be fetched from {url:.200}",
                        http_status=response.status_code,
                        request_id=request_id,
                    )
                for chunk in response.iter_bytes():
                    into.write(chunk)
                    if into.tell() > LARGEST_IMAGE:
                        raise ImageRefusedError(
                            f"The picture is larger than {LARGEST_IMAGE // 2**20} MB: {url:.200}", request_id=request_id
                        )
        except httpx.HTTPError as error:
            raise ImageUnavailableError(
                f"The picture could not be fetched from {url:.200} ({type(error).__name__})", request_id=request_id
            ) from error
        into.seek(0)
        extension = image_extension(into.read(_ENOUGH_TO_TELL))
        into.seek(0)
        if extension is None:
            raise ImageRefusedError(f"What is at {url:.200} is not a picture", request_id=request_id)
        return extension
