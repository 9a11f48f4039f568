"""Pictures from hosts that do not behave: a clear error for each, and the key never leaves."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.painter import paint
from airflow_provider_kandinsky.segmind.downloads import LARGEST_IMAGE, ImageDownloader
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError, ImageUnavailableError, KandinskyError

PNG = paint("a cat", 7, 0, (512, 512))
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_kandinsky.segmind.downloads._TRIES", 1)


def fetch(url: str, hosts: tuple[str, ...] = ("127.0.0.1",)) -> tuple[str, bytes]:
    async def run() -> tuple[str, bytes]:
        into = io.BytesIO()
        async with ImageDownloader(hosts) as downloader:
            extension = await downloader.fetch(url, into, "r-1")
        return extension, into.read()

    return asyncio.run(run())


def with_length(body: bytes, length: int | None = None) -> bytes:
    return OK + f"Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def to_the_end(body: bytes) -> bytes:
    """A body whose length is not told: it ends with the connection, wherever that breaks."""
    return OK + b"Connection: close\r\n\r\n" + body


def test_a_good_picture(raw_server: Callable[..., Any]) -> None:
    server = raw_server(with_length(PNG))
    assert fetch(f"{server.url}/cat.png") == ("png", PNG)
    (heard,) = server.received
    assert b"x-api-key" not in heard.lower()


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([with_length(b"<html>no picture</html>")], ImageRefusedError, "is not a picture"),
        ([with_length(b"")], ImageRefusedError, "is not a picture"),
        ([with_length(PNG[:-20], len(PNG))], ImageUnavailableError, r"could not be fetched.*RemoteProtocolError"),
        ([to_the_end(PNG[:-20])], ImageUnavailableError, "is cut off"),
        ([with_length(PNG[:1000])], ImageUnavailableError, "is cut off"),
        ([OK.replace(b"200 OK", b"404 Not Found") + b"Content-Length: 0\r\n\r\n"], ImageUnavailableError, "HTTP 404"),
        ([OK.replace(b"200 OK", b"500 Oops") + b"Content-Length: 0\r\n\r\n"], ImageUnavailableError, "HTTP 500"),
        ([b""], ImageUnavailableError, "could not be fetched"),
    ],
    ids=["html", "nothing", "cut short of its length", "cut off", "cut off by the host", "404", "500", "hung up"],
)
def test_a_bad_picture(
    raw_server: Callable[..., Any], pieces: list[bytes], error: type[KandinskyError], message: str
) -> None:
    server = raw_server(*pieces)
    with pytest.raises(error, match=message) as failure:
        fetch(f"{server.url}/cat.png")
    assert failure.value.request_id == "r-1"
    assert failure.value.billing == "yes"


def test_a_picture_of_33_megabytes_is_not_fetched_to_its_end(raw_server: Callable[..., Any]) -> None:
    megabyte = bytes(2**20)
    assert 32 * len(megabyte) == LARGEST_IMAGE
    server = raw_server(with_length(PNG, 33 * 2**20), *[megabyte] * 33)
    with pytest.raises(ImageRefusedError, match="is larger than 32 MB"):
        fetch(f"{server.url}/cat.png")


@pytest.mark.parametrize("drips", ["headers", "body"])
def test_a_drip_is_cut_off(raw_server: Callable[..., Any], drips: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_kandinsky.segmind.downloads.FETCH_TIMEOUT", 0.5)
    answer = with_length(PNG)
    start = 5 if drips == "headers" else answer.index(b"\r\n\r\n") + 20
    server = raw_server(answer[:start], *(answer[place : place + 1] for place in range(start, start + 500)), gap=0.05)
    began = time.monotonic()
    with pytest.raises(ImageUnavailableError, match="TimeoutError"):
        fetch(f"{server.url}/cat.png")
    assert time.monotonic() - began < 5


def test_a_redirect_is_not_followed(raw_server: Callable[..., Any]) -> None:
    elsewhere = raw_server(with_length(PNG))
    moved = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.url}/cat.png\r\nContent-Length: 0\r\n\r\n".encode()
    server = raw_server(moved)
    with pytest.raises(ImageUnavailableError, match="HTTP 302"):
        fetch(f"{server.url}/cat.png")
    assert elsewhere.received == []


@pytest.mark.parametrize(
    ("url", "hosts", "message"),
    [
        ("https://evil.example/cat.png", ("images.segmind.com",), "'evil.example', which is not among the hosts"),
        ("https://images.segmind.com.evil.example/c.png", ("images.segmind.com",), "not among the hosts"),
        ("https://images.segmind.com@evil.example/c.png", ("images.segmind.com",), "not among the hosts"),
        ("http://images.segmind.com/cat.png", ("images.segmind.com",), "not served over https"),
        ("file:///etc/passwd", ("",), "not served over https"),
    ],
)
def test_a_place_that_may_not_be_asked(url: str, hosts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ImageRefusedError, match=message):
        fetch(url, hosts)
