"""A server that means harm, over a real socket: whatever it sends ends soon, in little memory, and in a typed error."""

from __future__ import annotations

import gzip
import io
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.bodies import MEGABYTE

from ..wire.mangling import CALLS

#: Where there is much to try: the blocking client has the async one within it.
through_both = pytest.mark.parametrize("connect", ["blocking"], indirect=True)

Connect = Callable[..., Any]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TO_THE_END = OK + b"Connection: close\r\n\r\n"

#: Those that are read to 1 MB at most.
SMALL = {"submit", "status", "credits"}


@cache
def packed_twice(megabytes: int) -> bytes:
    once = io.BytesIO()
    with gzip.GzipFile(fileobj=once, mode="wb", compresslevel=1) as file:
        for _ in range(megabytes):
            file.write(bytes(MEGABYTE))
    return gzip.compress(once.getvalue())


MUCH = [b"x" * MEGABYTE] * 10_000
ATTACKS: dict[str, list[bytes]] = {
    "endless": [TO_THE_END, *MUCH],
    "endless chunks": [CHUNKED, *[b"100000\r\n" + b"x" * MEGABYTE + b"\r\n"] * 10_000],
    "endless tiny chunks": [CHUNKED, *[b"1\r\nx\r\n" * 10_000] * 10_000],
    "endless, under 502": [b"HTTP/1.1 502 Bad\r\nConnection: close\r\n\r\n", *MUCH],
    "endless, with the length of an exabyte": [OK + b"Content-Length: 1000000000000000000\r\n\r\n", *MUCH],
    "shorter than its length": [OK + b"Content-Length: 100\r\nConnection: close\r\n\r\n{}"],
    "length of many digits": [OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"],
    "negative length": [OK + b"Content-Length: -5\r\n\r\n{}"],
    "two lengths": [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"],
    "chunk of many digits": [CHUNKED, b"f" * 5000 + b"\r\n"],
    "gzip, gzip": [],  # takes a while to make
    "endless headers": [OK, *[b"X-Header: of no use\r\n" * 1000] * 10_000],
    "endless header": [OK + b"X-Header: ", *MUCH],
    "endless trailers": [CHUNKED + b"0\r\n", *[b"X-Trailer: of no use\r\n" * 1000] * 10_000],
    "endless extension of a chunk": [CHUNKED + b"1;", *MUCH],
    "endless reason": [b"HTTP/1.1 200 ", *MUCH],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n" * 1000],
    "nothing": [b""],
}


def bomb() -> list[bytes]:
    body = packed_twice(200)
    return [OK + f"Content-Encoding: gzip, gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body]


@contextmanager
def bounds(seconds: float, megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < seconds
    assert peak < megabytes * MEGABYTE


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "attack"),
    [
        *((name, attack) for name in ("submit", "result") for attack in ATTACKS),
        *((name, "endless") for name in CALLS if name not in ("submit", "result")),
    ],
)
def test_an_attack_ends_soon_and_small(
    connect: Connect, raw_server: Callable[..., Any], name: str, attack: str
) -> None:
    url = server_of(raw_server, ATTACKS[attack] or bomb())
    client = connect(url, history_url=url, request_timeout=2.0)
    # A body of 64 MB is held as it arrives and once more as a whole.
    with bounds(seconds=60, megabytes=16 if name in SMALL else 160), pytest.raises(KandinskyError) as caught:
        CALLS[name](client)
    expect_an_outage(name, caught.value)


def server_of(raw_server: Callable[..., Any], attack: list[bytes], **how: Any) -> str:
    url: str = raw_server(*attack, **how).url
    return url


def expect_an_outage(name: str, error: KandinskyError) -> None:
    if name in ("submit", "generate"):
        assert type(error) is SubmissionUnknownError
        assert error.billing == "maybe"
        return
    assert isinstance(error, ServiceUnavailableError)
    assert error.retryable
    if name in ("status", "result"):
        assert (error.request_id, error.billing) == ("r-1", "maybe")


DRIPS: dict[str, list[bytes]] = {
    "body": [TO_THE_END, *[b"x"] * 1000],
    "chunks": [CHUNKED, *[b"1\r\nx\r\n"] * 1000],
    "headers": [OK, *[b"X-Header: of no use\r\n"] * 1000],
    "informational answers": [b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 1000,
    "status line": [*[bytes([each]) for each in b"HTTP/1.1 200 " + b"O" * 1000]],
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
@pytest.mark.parametrize("name", ["submit", "status"])
def test_a_drip_is_incomplete(connect: Connect, raw_server: Callable[..., Any], name: str, drip: list[bytes]) -> None:
    url = server_of(raw_server, drip, gap=0.02)
    client = connect(url, history_url=url, request_timeout=0.2)
    with bounds(seconds=60, megabytes=8), pytest.raises(KandinskyError) as caught:
        CALLS[name](client)
    expect_an_outage(name, caught.value)


@through_both
@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *((name, "gzip, gzip") for name in CALLS),
        *(("status", encoding) for encoding in ("gzip", "identity, gzip", "br", "zstd", "x-unheard-of", "\xff")),
    ],
)
def test_no_encoding_is_asked_for_and_none_is_unpacked(
    connect: Connect, raw_server: Callable[..., Any], name: str, encoding: str
) -> None:
    body = gzip.compress(b'{"credits": 3, "request_id": "r", "status": "COMPLETED", "output": "https://i/1.png"}')
    server = raw_server(OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    with pytest.raises(KandinskyError) as caught:
        CALLS[name](connect(server.url, history_url=server.url))
    assert all(b"accept-encoding: identity\r\n" in heard.lower() for heard in server.received)
    expect_an_outage(name, caught.value)


def test_identity_is_no_encoding(connect: Connect, raw_server: Callable[..., Any]) -> None:
    server = raw_server(OK + b'Content-Encoding: Identity\r\nContent-Length: 14\r\n\r\n{"credits": 3}')
    assert connect(server.url).get_credits().paid == 3.0


@pytest.mark.parametrize("name", CALLS)
def test_a_status_tells_what_it_means_whatever_its_body(
    connect: Connect, raw_server: Callable[..., Any], name: str
) -> None:
    packed = b"Content-Encoding: gzip\r\nRetry-After: 60\r\nContent-Length: 3\r\n\r\nabc"
    server = raw_server(b"HTTP/1.1 429 Too Many\r\n" + packed)
    with pytest.raises(RateLimitedError, match="a body that was not read, because its encoding is 'gzip'"):
        CALLS[name](connect(server.url, history_url=server.url))


HEADERS = {
    "no URL": b"Location: http://[::1\r\n",
    "no host": b"Location: https:///x\r\n",
    "bad host": b"Location: http://" + b"a" * 300 + b"/\r\n",
    "bad port": b"Location: http://h:99999999999/\r\n",
    "dots": b"Location: //..\x80../\r\n",
    "long": b"Location: " + b"x" * 70_000 + b"\r\n",
    "not ASCII": b"Location: https://\xff\xfe\x80/\r\n",
    "relative to nothing": b"Location: ://\r\n",
    "a scheme alone": b"Location: x:\r\n",
    "mail": b"Location: mailto:a@b\r\n",
    "cookies": b"".join(b"Set-Cookie: a%d=%s; Path=/; Expires=%s\r\n" % (n, b"x" * 50, b"1" * 50) for n in range(500)),
    "a cookie": b"Set-Cookie: " + b"a=b; " * 10_000 + b'"' * 10_000 + b"\r\n",
    "a cookie that expires": b"Set-Cookie: a=b; Expires=" + b"1-" * 30_000 + b"\r\n",
    "a cookie of no month": b"Set-Cookie: a=b; Expires=Tue, 14 Nos 2023 22:13:50 GMT\r\n",
    "not text": b"X-\xff: \x80\xff\r\nRetry-After: \xff\r\nx-rate-limit-reset-at-utc: \xd8\x00\r\n",
    "many times": b"Retry-After: 1\r\nRetry-After: 2\r\nContent-Type: \r\nContent-Encoding: \r\n",
}


@through_both
@pytest.mark.filterwarnings("error:http.cookiejar bug")
@pytest.mark.parametrize("status", [200, 302, 401, 429])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_no_header_does_harm(connect: Connect, raw_server: Callable[..., Any], headers: bytes, status: int) -> None:
    server = raw_server(f"HTTP/1.1 {status} Reported\r\n".encode() + headers + b"Content-Length: 2\r\n\r\n{}")
    for name in ("submit", "status"):
        with bounds(seconds=60, megabytes=8):
            try:
                outcome = CALLS[name](connect(server.url))
            except KandinskyError as error:
                outcome = error
        assert isinstance(outcome, KandinskyError) or (name, outcome) == ("status", JobStatus.UNKNOWN)


def test_cookies_are_not_kept(connect: Connect, raw_server: Callable[..., Any]) -> None:
    """A jar that fills at every poll would grow for as long as a triggerer runs."""
    server = raw_server(
        OK + b'Set-Cookie: a=b; Path=/\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{"credits": 3}'
    )
    client = connect(server.url)
    for _ in range(2):
        client.get_credits()
    assert len(server.received) == 2
    assert all(b"cookie" not in heard.lower() for heard in server.received)
