"""No proxy stands between this machine and itself, and a host that is not reached is reported with the reason."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import ImageUnavailableError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy, ImageDownloader
from airflow_provider_kandinsky.segmind.http.network import describe_failure, is_loopback, origin, without_proxy
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]
KEY = "SG_f00dfeedc0ffee42"
NO_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def proxy(raw_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A proxy that the environment names for everything, and that keeps what it hears."""
    server = raw_server(NO_GATEWAY)
    for name in (*PROXIES, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in PROXIES:
        monkeypatch.setenv(name.lower(), server.url)
    return server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_key_goes_to_this_machine_without_a_proxy(
    connect: Connect, sandbox: Sandbox, proxy: Any, host: str
) -> None:
    url = sandbox.url.replace("127.0.0.1", host)
    client = connect(url, history_url=f"{url}/inference-request/request-history")
    assert client.get_credits().paid is not None
    assert client.get_past_request("r-1") is None
    proxy.close()
    assert proxy.received == []


def test_the_key_goes_to_this_machine_without_a_proxy_over_ipv6(connect: Connect, proxy: Any) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"at \[::1\]:1 \(ConnectError"):
        connect("http://[::1]:1").get_credits()
    proxy.close()
    assert proxy.received == []


def test_the_key_goes_to_this_machine_without_a_proxy_over_tls(
    connect: Connect, raw_server: Callable[..., Any], trusted: Any, proxy: Any
) -> None:
    server = raw_server(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"credits": 3}', tls=trusted.tls)
    assert connect(server.url).get_credits().paid == 3.0
    proxy.close()
    assert proxy.received == []


def test_an_image_comes_from_this_machine_without_a_proxy(
    connect: Connect, sandbox: Sandbox, proxy: Any, a_cat: TextToImageRequest
) -> None:
    client = connect(sandbox.url)
    (url,) = client.wait(client.submit(a_cat).request_id).urls

    async def fetch() -> str:
        async with ImageDownloader(DownloadPolicy(frozenset({sandbox.url.removeprefix("http://")}))) as downloader:
            return await downloader.fetch(url, io.BytesIO(), None)

    assert asyncio.run(fetch()) == "png"
    proxy.close()
    assert proxy.received == []


def test_other_hosts_are_asked_by_way_of_the_proxy(connect: Connect, sandbox: Sandbox, proxy: Any) -> None:
    """Also where the one is this machine and the other is not."""
    client = connect(sandbox.url, history_url="https://history.test/past")
    with pytest.raises(ServiceUnavailableError, match=r"at history.test:443 \(ProxyError"):
        client.get_past_request("r-1")
    assert client.get_credits().paid is not None
    proxy.close()
    assert proxy.received
    assert all(heard.startswith(b"CONNECT history.test:443 ") for heard in proxy.received)
    assert not any(b"x-api-key" in heard for heard in proxy.received)


def test_an_unencrypted_host_that_was_allowed_is_asked_by_way_of_the_proxy(connect: Connect, proxy: Any) -> None:
    with pytest.raises(ServiceUnavailableError, match="HTTP 502"):
        connect("http://x.localhost:8765", allow_insecure=True).get_credits()
    proxy.close()
    assert [heard.split()[1] for heard in proxy.received] == [b"http://x.localhost:8765/v1/get-user-credits"]


def test_without_proxy_names_loopback_alone() -> None:
    urls = ["https://h", "http://127.0.0.1:8765/x", "http://[::1]", "https://localhost:1", "http://x.localhost"]
    assert without_proxy(urls) == dict.fromkeys(("all://127.0.0.1", "all://[::1]", "all://localhost"))


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("sandbox.localhost", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("mylocalhost", False),
        ("LOCALHOST.example", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, is_own: bool) -> None:
    assert is_loopback(host) == is_own


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x", "h:443"),
        ("http://H:81", "h:81"),
        ("http://u:p@h", "h:80"),
        ("https://[::1]:8443", "[::1]:8443"),
        ("ftp://h", "h"),
    ],
)
def test_an_origin_is_shown_as_host_and_port(url: str, shown: str) -> None:
    assert str(origin(url)) == shown


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_that_refuses_is_named_with_the_systems_reason(connect: Connect, closed_port: int, host: str) -> None:
    with pytest.raises(ServiceUnavailableError) as caught:
        connect(f"http://{host}:{closed_port}", KEY).get_credits()
    assert caught.value.message == (
        f"The service could not be reached at {host}:{closed_port} (ConnectError: Connection refused); nothing was sent"
    )


def test_an_unknown_host_is_reported_with_the_resolvers_reason(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServiceUnavailableError) as caught:
        connect("https://segmind.test", KEY).get_credits()
    assert caught.value.message == (
        "The service could not be reached at segmind.test:443 (ConnectError: Name or service not known); "
        "nothing was sent"
    )


def test_an_untrusted_certificate_is_named_in_the_error(
    connect: Connect, raw_server: Callable[..., Any], authority: Any
) -> None:
    with pytest.raises(ServiceUnavailableError, match="verify failed: unable to get local issuer certificate"):
        connect(raw_server(tls=authority.tls).url, KEY).get_credits()


def test_the_error_of_a_failed_download_names_the_reason(closed_port: int, fake_time: Any) -> None:
    async def fetch() -> None:
        async with ImageDownloader(
            DownloadPolicy(frozenset({f"127.0.0.1:{closed_port}"})), sleep=fake_time.asleep
        ) as downloader:
            await downloader.fetch(f"http://127.0.0.1:{closed_port}/c.png", io.BytesIO(), "r-1")

    with pytest.raises(ImageUnavailableError, match=r"c\.png \(ConnectError: Connection refused\)"):
        asyncio.run(fetch())


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


REFUSED = OSError(errno.ECONNREFUSED, KEY)
BOTH = ExceptionGroup(KEY, [OSError(errno.EHOSTUNREACH, KEY), REFUSED])
HIDDEN = [
    (httpx.LocalProtocolError(f"Illegal header value {KEY!r}"), "LocalProtocolError"),
    (caused(httpx.ConnectError(KEY), OSError(KEY)), "ConnectError"),
    (caused(httpx.ConnectError(KEY), ValueError(KEY)), "ConnectError"),
    (caused(httpx.ConnectError(KEY), REFUSED), "ConnectError: Connection refused"),
    (caused(httpx.ConnectError(KEY), caused(OSError(KEY), REFUSED)), "ConnectError: Connection refused"),
    (caused(httpx.ConnectError(KEY), caused(OSError(KEY), BOTH)), "ConnectError: Connection refused"),
]


@pytest.mark.parametrize(("error", "reported"), HIDDEN)
def test_the_texts_of_exceptions_are_not_repeated(error: BaseException, reported: str) -> None:
    assert describe_failure(error) == reported


def test_each_retry_of_a_submission_is_logged(
    connect: Connect, closed_port: int, a_cat: TextToImageRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "airflow_provider_kandinsky")
    with pytest.raises(ServiceUnavailableError):
        connect(f"http://127.0.0.1:{closed_port}", KEY).submit(a_cat)
    lines = [record.getMessage() for record in caplog.records if "Retrying in" in record.getMessage()]
    assert 3 <= len(lines) <= 5
    left = [float(line.split("retries end ")[1].split(" s")[0]) for line in lines]
    assert left == sorted(left, reverse=True)
    assert all(0 <= seconds < SUBMIT_RETRY_TIMEOUT for seconds in left)
    assert all("Connection refused" in line and KEY not in line for line in lines)
