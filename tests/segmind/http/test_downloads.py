"""Pictures from hosts that do not behave: a clear error for each, and the key never leaves."""

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
from airflow_provider_kandinsky.segmind.http import downloads
from airflow_provider_kandinsky.segmind.http.downloads import LARGEST_IMAGE, ImageDownloader, check_image_url

PNG = paint("a cat", 7, 0, (512, 512))
OK = b"HTTP/1.1 200 OK\r\n"
Fetch = Callable[..., tuple[str, bytes]]


@pytest.fixture
def fetch(fake_time: Any) -> Fetch:
    """Fetch a picture, in no time but the host's: its type, and what is in the file. Without hosts, the URL's may be
    asked."""

    def fetch(url: str, hosts: tuple[str, ...] = (), into: bytes = b"") -> tuple[str, bytes]:
        async def run() -> tuple[str, bytes]:
            file = io.BytesIO(into)
            async with ImageDownloader(hosts or (urlsplit(url).netloc,), sleep=fake_time.asleep) as downloader:
                extension = await downloader.fetch(url, file, "r-1")
            return extension, file.read()

        return asyncio.run(run())

    return fetch


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_TRIES", 1)


def with_length(body: bytes, length: int | None = None) -> bytes:
    # The server hangs up after each answer: who is not told may send the next request into a line that is closing.
    length = len(body) if length is None else length
    return OK + f"Connection: close\r\nContent-Length: {length}\r\n\r\n".encode() + body


def to_the_end(body: bytes) -> bytes:
    """A body whose length is not told: it ends with the connection, wherever that breaks."""
    return OK + b"Connection: close\r\n\r\n" + body


def nothing_with(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_good_picture(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(f"{server.url}/cat.png?size=l") == ("png", PNG)
    (heard,) = server.received
    request, *headers = heard.decode().lower().splitlines()
    assert request == "get /cat.png?size=l http/1.1"
    assert f"user-agent: airflow-provider-kandinsky/{__version__}" in headers
    assert "accept: image/*" in headers
    assert "x-api-key" not in heard.decode().lower()


def test_what_a_failed_try_has_left_is_thrown_away(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(f"{server.url}/cat.png", into=PNG + b"more than the picture") == ("png", PNG)


PASSING = [1, 2, 4, 8]
BAD: dict[str, tuple[bytes, type[KandinskyError], str, list[int]]] = {
    "html": (with_length(b"<html>no picture</html>"), ImageRefusedError, "What is at {} is not a picture", []),
    "nothing": (with_length(b""), ImageRefusedError, "What is at {} is not a picture", []),
    "cut short of its length": (
        with_length(PNG[:-20], len(PNG)),
        ImageUnavailableError,
        "The picture could not be fetched from {} (RemoteProtocolError)",
        PASSING,
    ),
    "cut off": (to_the_end(PNG[:-20]), ImageUnavailableError, "The picture at {} is cut off", PASSING),
    "cut off by the host": (with_length(PNG[:1000]), ImageUnavailableError, "The picture at {} is cut off", PASSING),
    "404": (nothing_with("404 Not"), ImageUnavailableError, "The picture could not be fetched from {}", PASSING),
    "500": (nothing_with("500 Oops"), ImageUnavailableError, "The picture could not be fetched from {}", PASSING),
    "hung up": (
        b"",
        ImageUnavailableError,
        "The picture could not be fetched from {} (RemoteProtocolError)",
        PASSING,
    ),
}


@pytest.mark.parametrize(("answer", "error_type", "message", "pauses"), BAD.values(), ids=BAD)
def test_a_bad_picture(
    raw_server: Callable[..., Any],
    fetch: Fetch,
    fake_time: Any,
    answer: bytes,
    error_type: type[KandinskyError],
    message: str,
    pauses: list[int],
) -> None:
    """What may pass is tried for again, and what will not is not; who is on call is told which it was, and of what."""
    server = raw_server(answer)
    url = f"{server.url}/{'cat' * 100}.png"
    with pytest.raises(error_type) as failure:
        fetch(url)
    error = failure.value
    assert (error.message, error.request_id, error.billing) == (message.format(url[:200]), "r-1", "yes")
    status = answer.split()[1] if answer else b"200"
    assert error.http_status == (None if status == b"200" else int(status))
    assert [int(pause) for pause in fake_time.pauses] == pauses
    assert len(server.received) == 1 + len(pauses)


def test_a_picture_of_33_megabytes_is_not_fetched_to_its_end(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    megabyte = bytes(2**20)
    assert 32 * len(megabyte) == LARGEST_IMAGE
    server = raw_server(with_length(PNG, 33 * 2**20), *[megabyte] * 33)
    with pytest.raises(ImageRefusedError) as failure:
        fetch(f"{server.url}/cat.png")
    assert failure.value.message == (
        f"The image at {server.url}/cat.png is not stored, because it is larger than 32 MB, or came in too many pieces"
    )
    assert failure.value.request_id == "r-1"
    assert len(server.received) == 1


def test_the_largest_picture_is_taken(
    raw_server: Callable[..., Any], fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = raw_server(with_length(PNG))
    monkeypatch.setattr(downloads, "LARGEST_IMAGE", len(PNG))
    assert fetch(server.url) == ("png", PNG)
    monkeypatch.setattr(downloads, "LARGEST_IMAGE", len(PNG) - 1)
    with pytest.raises(ImageRefusedError, match="is larger than"):
        fetch(server.url)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "unheard-of"])
def test_a_packed_picture_is_not_unpacked(raw_server: Callable[..., Any], fetch: Fetch, encoding: str) -> None:
    packed = gzip.compress(gzip.compress(bytes(2**24)))
    server = raw_server(OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed)
    with pytest.raises(ImageRefusedError, match="it came in the encoding"):
        fetch(f"{server.url}/cat.png")
    (heard,) = server.received
    assert b"accept-encoding: identity\r\n" in heard.lower()


def test_a_picture_in_millions_of_pieces_is_given_up(raw_server: Callable[..., Any], fetch: Fetch) -> None:
    server = raw_server(OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n" * 10_000] * 10_000)
    began = time.monotonic()
    with pytest.raises(ImageRefusedError, match="too many pieces"):
        fetch(server.url)
    assert time.monotonic() - began < 15


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize(
    "place", ["http://[::1", "https:///x", "//..\x80../", "x:", "http://" + "a" * 300, "x" * 70_000]
)
def test_a_redirect_to_nowhere_is_an_error_of_the_tree(
    raw_server: Callable[..., Any], fetch: Fetch, place: str
) -> None:
    moved = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    with pytest.raises(ImageUnavailableError):
        fetch(raw_server(moved).url)


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize("drips", ["headers", "body"])
def test_a_drip_is_cut_off(
    raw_server: Callable[..., Any], fetch: Fetch, drips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FETCH_TIMEOUT", 0.5)
    answer = with_length(PNG)
    start = 5 if drips == "headers" else answer.index(b"\r\n\r\n") + 20
    server = raw_server(answer[:start], *(answer[place : place + 1] for place in range(start, start + 500)), gap=0.05)
    began = time.monotonic()
    with pytest.raises(ImageUnavailableError, match="TimeoutError"):
        fetch(f"{server.url}/cat.png")
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("one_try")
def test_a_host_that_says_nothing_is_given_up(
    raw_server: Callable[..., Any], fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FETCH_TIMEOUT", 2.0)
    monkeypatch.setattr(downloads, "REQUEST_TIMEOUT", 0.1)
    with pytest.raises(ImageUnavailableError, match=r"\(ReadTimeout\)"):
        fetch(raw_server(b"", gap=30).url)


@pytest.mark.usefixtures("one_try")
def test_a_host_that_does_not_open_is_given_up_sooner(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "FETCH_TIMEOUT", 2.0)
    monkeypatch.setattr(downloads, "CONNECT_TIMEOUT", 0.1)
    with ExitStack() as stack:
        host = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # As many as it lets wait at its door; who comes after them gets no answer at all.
        for _ in range(3):
            before = stack.enter_context(socket.socket())
            before.setblocking(False)
            before.connect_ex(host.getsockname())
        with pytest.raises(ImageUnavailableError, match=r"\(ConnectTimeout\)"):
            fetch(f"http://127.0.0.1:{host.getsockname()[1]}/cat.png")


def test_a_picture_comes_over_tls_from_whom_the_environment_trusts(
    raw_server: Callable[..., Any], fetch: Fetch, trusted: Any
) -> None:
    assert fetch(raw_server(with_length(PNG), tls=trusted.tls).url) == ("png", PNG)


def test_a_certificate_that_nobody_vouches_for_is_not_taken(
    raw_server: Callable[..., Any], fetch: Fetch, authority: Any
) -> None:
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
    "The picture is at {!r}, which is not among the hosts that pictures may come from ({}); add it to image_hosts in "
    "the connection if you trust it"
)


@pytest.mark.parametrize(
    ("url", "hosts", "message"),
    [
        ("https://evil.example/c.png", VENDOR, NOT_AMONG.format("evil.example:443", "images.segmind.com")),
        ("https://b.example/c.png", ("d", "c"), NOT_AMONG.format("b.example:443", "c, d")),
        ("https://images.segmind.com:8443/c.png", VENDOR, NOT_AMONG.format("images.segmind.com:8443", *VENDOR)),
        ("https://images.segmind.com:80/c.png", VENDOR, "not among the hosts"),
        ("https://b.example/c.png", ("b.example:8443",), "not among the hosts"),
        ("http://127.0.0.1:81/c.png", ("127.0.0.1:80",), NOT_AMONG.format("127.0.0.1:81", "127.0.0.1:80")),
        ("http://127.0.0.1/c.png", ("127.0.0.1",), NOT_AMONG.format("127.0.0.1:80", "127.0.0.1")),
        ("http://x.localhost:8765/c.png", ("x.localhost:8765",), "is not served over https"),
        ("https://images.segmind.com.evil.example/c.png", VENDOR, "not among the hosts"),
        ("https://images.segmind.com@evil.example/c.png", VENDOR, "not among the hosts"),
        ("http://images.segmind.com/c.png", VENDOR, "is not served over https: http://images.segmind.com/c.png"),
        ("http://images.segmind.com/" + "c" * 300, VENDOR, "is not served over https: http://images.segmind.com/ccc"),
        ("ftp://127.0.0.1/c.png", ("127.0.0.1",), "is not served over https: ftp://127.0.0.1/c.png"),
        ("file:///etc/passwd", ("",), "is not served over https: file:///etc/passwd"),
        ("https://images.segmind.com:port/c.png", VENDOR, "The picture's URL is none: https://images.segmind.com:port"),
        ("https://images.segmind.com/\ud800", VENDOR, "The picture's URL is none: https://images.segmind.com/"),
        (
            "https://images.segmind.com/" + "c" * 70_000,
            VENDOR,
            "The picture's URL is none: https://images.segmind.com/",
        ),
    ],
)
def test_a_place_that_may_not_be_asked(fetch: Fetch, url: str, hosts: tuple[str, ...], message: str) -> None:
    for ask in (fetch, lambda *given: check_image_url(*given, "r-1")):
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
def test_a_place_that_may_be_asked(url: str, host: str) -> None:
    check_image_url(url, [host, "another"])
