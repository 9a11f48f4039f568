"""Images from hosts that misbehave: a clear error for each, and the key is never sent."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.sandbox.image_painter import paint
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError, ImageUnavailableError, KandinskyError
from airflow_provider_kandinsky.segmind.http.downloads import (
    DownloadPolicy,
    ImageDownloader,
    check_image_url,
)

PNG = paint("a cat", 7, 0, (512, 512))
OK = b"HTTP/1.1 200 OK\r\n"
Fetch = Callable[..., tuple[str, bytes]]


@pytest.fixture
def fetch(fake_time: Any) -> Fetch:
    """Download an image without real sleeps: its type and the content of the file. By default the URL's host is
    allowed."""

    def fetch(url: str, hosts: tuple[str, ...] = (), into: bytes = b"", **limits: Any) -> tuple[str, bytes]:
        async def run() -> tuple[str, bytes]:
            file = io.BytesIO(into)
            policy = DownloadPolicy(frozenset(hosts or (urlsplit(url).netloc,)), **limits)
            async with ImageDownloader(policy, sleep=fake_time.asleep) as downloader:
                extension = await downloader.fetch(url, file, "r-1")
            return extension, file.read()

        return asyncio.run(run())

    return fetch


def with_length(body: bytes, length: int | None = None) -> bytes:
    # The server closes after each response. Without the header, a client may reuse the closing connection.
    length = len(body) if length is None else length
    return OK + f"Connection: close\r\nContent-Length: {length}\r\n\r\n".encode() + body


def to_the_end(body: bytes) -> bytes:
    """A body without a length: it ends where the connection ends."""
    return OK + b"Connection: close\r\n\r\n" + body


def nothing_with(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()


def test_an_image_is_downloaded(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(f"{server.url}/cat.png?size=l") == ("png", PNG)
    (heard,) = server.received
    request, *headers = heard.decode().lower().splitlines()
    assert request == "get /cat.png?size=l http/1.1"
    assert f"user-agent: airflow-provider-kandinsky/{__version__}" in headers
    assert "accept: image/*" in headers
    assert "x-api-key" not in heard.decode().lower()


def test_the_rest_of_a_failed_try_is_discarded(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(f"{server.url}/cat.png", into=PNG + b"more than the image") == ("png", PNG)


PASSING = [1, 2, 4, 8]
BAD: dict[str, tuple[bytes, type[KandinskyError], str, list[int]]] = {
    "html": (with_length(b"<html>no image</html>"), ImageRefusedError, "What is at {} is not an image", []),
    "nothing": (with_length(b""), ImageRefusedError, "What is at {} is not an image", []),
    "cut short of its length": (
        with_length(PNG[:-20], len(PNG)),
        ImageUnavailableError,
        "The image could not be fetched from {} (RemoteProtocolError)",
        PASSING,
    ),
    "cut off": (to_the_end(PNG[:-20]), ImageUnavailableError, "The image at {} is incomplete", PASSING),
    "cut off by the host": (with_length(PNG[:1000]), ImageUnavailableError, "The image at {} is incomplete", PASSING),
    "404": (nothing_with("404 Not"), ImageUnavailableError, "The image could not be fetched from {}", PASSING),
    "500": (nothing_with("500 Oops"), ImageUnavailableError, "The image could not be fetched from {}", PASSING),
    "hung up": (
        b"",
        ImageUnavailableError,
        "The image could not be fetched from {} (RemoteProtocolError)",
        PASSING,
    ),
}


@pytest.mark.parametrize(("response", "error_type", "message", "pauses"), BAD.values(), ids=BAD)
def test_a_bad_image(
    raw_server: Callable[..., Any],
    fetch: Fetch,
    fake_time: Any,
    response: bytes,
    error_type: type[KandinskyError],
    message: str,
    pauses: list[int],
) -> None:
    """Only temporary errors are retried, and the message names the URL and the cause."""
    server = raw_server(response)
    url = f"{server.url}/{'cat' * 100}.png"
    with pytest.raises(error_type) as failure:
        fetch(url)
    error = failure.value
    assert (error.message, error.request_id, error.billing) == (message.format(url[:200]), "r-1", "yes")
    status = response.split()[1] if response else b"200"
    assert error.http_status == (None if status == b"200" else int(status))
    assert [int(pause) for pause in fake_time.pauses] == pauses
    assert len(server.received) == 1 + len(pauses)


def test_an_image_of_33_mb_is_not_read_to_its_end(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    megabyte = bytes(2**20)
    assert 32 * len(megabyte) == DownloadPolicy(frozenset()).max_bytes
    server = raw_server(with_length(PNG, 33 * 2**20), *[megabyte] * 33)
    with pytest.raises(ImageRefusedError) as failure:
        fetch(f"{server.url}/cat.png")
    assert failure.value.message == (
        f"The image at {server.url}/cat.png is not stored, because it is larger than 32 MB, or came in too many chunks"
    )
    assert failure.value.request_id == "r-1"
    assert len(server.received) == 1


def test_the_largest_image_is_accepted(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(server.url, max_bytes=len(PNG)) == ("png", PNG)
    with pytest.raises(ImageRefusedError, match="is larger than"):
        fetch(server.url, max_bytes=len(PNG) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "unheard-of"])
def test_a_compressed_image_is_not_decompressed(raw_server: Callable[..., Any], fetch: Fetch, encoding: str) -> None:
    packed = gzip.compress(gzip.compress(bytes(2**24)))
    server = raw_server(OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed)
    with pytest.raises(ImageRefusedError, match="its encoding is"):
        fetch(f"{server.url}/cat.png")
    (heard,) = server.received
    assert b"accept-encoding: identity\r\n" in heard.lower()


def test_an_image_in_millions_of_chunks_is_given_up(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 10_000] * 10_000)
    began = time.monotonic()
    with pytest.raises(ImageRefusedError, match="too many chunks"):
        fetch(server.url)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "place", ["http://[::1", "https:///x", "//..\x80../", "x:", "http://" + "a" * 300, "x" * 70_000]
)
def test_a_redirect_to_nowhere_is_an_error_of_the_tree(
    raw_server: Callable[..., Any], fetch: Fetch, place: str
) -> None:
    moved = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    with pytest.raises(ImageUnavailableError):
        fetch(raw_server(moved).url, retry_timeout=0)


@pytest.mark.parametrize("drips", ["headers", "body"])
def test_a_slow_drip_times_out(raw_server: Callable[..., Any], fetch: Fetch, drips: str) -> None:
    response = with_length(PNG)
    start = 5 if drips == "headers" else response.index(b"\r\n\r\n") + 20
    drops = (response[place : place + 1] for place in range(start, start + 500))
    server = raw_server(response[:start], *drops, gap=0.05)
    began = time.monotonic()
    with pytest.raises(ImageUnavailableError, match="TimeoutError"):
        fetch(f"{server.url}/cat.png", retry_timeout=0, timeout=0.5)
    assert time.monotonic() - began < 20  # the drip lasts for 25 s


def test_a_silent_host_times_out(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    with pytest.raises(ImageUnavailableError, match=r"\(ReadTimeout\)"):
        fetch(raw_server(b"", gap=60).url, retry_timeout=0, timeout=30.0, read_timeout=0.1)


def test_a_host_that_does_not_accept_connections_times_out(fetch: Fetch) -> None:
    with ExitStack() as stack:
        host = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # These fill its backlog; later connections get no response at all.
        for _ in range(3):
            before = stack.enter_context(socket.socket())
            before.setblocking(False)
            before.connect_ex(host.getsockname())
        url = f"http://127.0.0.1:{host.getsockname()[1]}/cat.png"
        with pytest.raises(ImageUnavailableError, match=r"\(ConnectTimeout\)"):
            fetch(url, retry_timeout=0, timeout=30.0, connect_timeout=0.1)


def test_tls_with_a_certificate_that_the_environment_trusts(
    raw_server: Callable[..., Any], fetch: Fetch, trusted: Any
) -> None:
    assert fetch(raw_server(with_length(PNG), tls=trusted.tls).url) == ("png", PNG)


def test_tls_with_an_untrusted_certificate_fails(raw_server: Callable[..., Any], fetch: Fetch, authority: Any) -> None:
    with pytest.raises(ImageUnavailableError, match=r"\(ConnectError: .*certificate verify failed"):
        fetch(raw_server(with_length(PNG), tls=authority.tls).url)


def test_a_redirect_is_not_followed(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    elsewhere = raw_server(with_length(PNG))
    moved = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}/cat.png\r\nContent-Length: 0\r\n\r\n".encode()
    server = raw_server(moved)
    with pytest.raises(ImageUnavailableError, match="HTTP 302"):
        fetch(f"{server.url}/cat.png")
    assert elsewhere.received == []


VENDOR = ("images.segmind.com",)
NOT_AMONG = (
    "The image is at {!r}, which is not an allowed host ({}); add it to image_hosts in the connection if you trust it"
)


@pytest.mark.parametrize(
    ("url", "hosts", "message"),
    [
        ("https://evil.example/c.png", VENDOR, NOT_AMONG.format("evil.example:443", "images.segmind.com")),
        ("https://b.example/c.png", ("d", "c"), NOT_AMONG.format("b.example:443", "c, d")),
        ("https://images.segmind.com:8443/c.png", VENDOR, NOT_AMONG.format("images.segmind.com:8443", *VENDOR)),
        ("https://images.segmind.com:80/c.png", VENDOR, "not an allowed host"),
        ("https://b.example/c.png", ("b.example:8443",), "not an allowed host"),
        ("http://127.0.0.1:81/c.png", ("127.0.0.1:80",), NOT_AMONG.format("127.0.0.1:81", "127.0.0.1:80")),
        ("http://127.0.0.1/c.png", ("127.0.0.1",), NOT_AMONG.format("127.0.0.1:80", "127.0.0.1")),
        ("http://x.localhost:8765/c.png", ("x.localhost:8765",), "is not served over https"),
        ("https://images.segmind.com.evil.example/c.png", VENDOR, "not an allowed host"),
        ("https://images.segmind.com@evil.example/c.png", VENDOR, "not an allowed host"),
        ("http://images.segmind.com/c.png", VENDOR, "is not served over https: http://images.segmind.com/c.png"),
        ("http://images.segmind.com/" + "c" * 300, VENDOR, "is not served over https: http://images.segmind.com/ccc"),
        ("ftp://127.0.0.1/c.png", ("127.0.0.1",), "is not served over https: ftp://127.0.0.1/c.png"),
        ("file:///etc/passwd", ("",), "is not served over https: file:///etc/passwd"),
        ("https://images.segmind.com:port/c.png", VENDOR, "Invalid image URL: https://images.segmind.com:port"),
        ("https://images.segmind.com/\ud800", VENDOR, "Invalid image URL: https://images.segmind.com/"),
        (
            "https://images.segmind.com/" + "c" * 70_000,
            VENDOR,
            "Invalid image URL: https://images.segmind.com/",
        ),
    ],
)
def test_urls_that_are_not_allowed(fetch: Fetch, url: str, hosts: tuple[str, ...], message: str) -> None:
    for ask in (fetch, lambda *args: check_image_url(*args, "r-1")):
        with pytest.raises(ImageRefusedError) as failure:
            ask(url, hosts)
        assert message in failure.value.message
        assert len(failure.value.message) < 300
        assert failure.value.request_id == "r-1"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://images.segmind.com/c.png", "images.segmind.com"),
        ("HTTPS://Images.Segmind.com/c.png", "images.segmind.com"),
        ("https://images.segmind.com:443/c.png", "images.segmind.com"),
        ("https://images.segmind.com/c.png", "images.segmind.com:443"),
        ("https://10.0.0.1:8443/c.png", "10.0.0.1:8443"),
        ("http://127.0.0.1:8765/c.png", "127.0.0.1:8765"),
        ("http://[::1]:8765/c.png", "[::1]:8765"),
        ("https://[::1]/c.png", "[::1]"),
        ("http://localhost/c.png", "localhost:80"),
    ],
)
def test_urls_that_are_allowed(url: str, host: str) -> None:
    check_image_url(url, [host, "another"])
