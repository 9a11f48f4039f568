"""Where the key goes: to the connection's own host, encrypted unless that is this machine, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("https://api.segmind.com", "https://api.segmind.com"),
        ("https://api.segmind.com/", "https://api.segmind.com"),
        (" https://api.segmind.com// ", "https://api.segmind.com"),
        ("https://api.segmind.com/v1", "https://api.segmind.com"),
        ("https://api.segmind.com/v2/", "https://api.segmind.com"),
        ("api.segmind.com", "https://api.segmind.com"),
        ("api.segmind.com/v1/", "https://api.segmind.com"),
        ("api.segmind.com:8443", "https://api.segmind.com:8443"),
        ("https://proxy.example/segmind", "https://proxy.example/segmind"),
        ("https://proxy.example/segmind/v1", "https://proxy.example/segmind"),
        ("HTTPS://API.Segmind.com", "https://api.segmind.com"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://localhost:8765/v1", "http://localhost:8765"),
        ("http://[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_base_urls_are_brought_into_one_form(given: str, base_url: str) -> None:
    assert SegmindApi("SG_x", given).base_url == base_url


INSECURE = [
    "http://api.segmind.com",
    "HTTP://api.segmind.com",
    "http://10.0.0.1",
    "http://0.0.0.0",
    "http://localhost.example",
    "http://sandbox.localhost",
    "http://127.0.0.1.example",
    "http://[::2]",
    "http://2130706433",
]


@pytest.mark.parametrize("url", INSECURE)
def test_the_key_is_not_sent_in_clear_text(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unencrypted.* allow_insecure"):
        SegmindApi("SG_x", url)
    with pytest.raises(ConfigurationError, match="unencrypted"):
        SegmindApi("SG_x", history_url=url)
    assert SegmindApi("SG_x", url, allow_insecure=True).base_url == url.lower()


MALFORMED = ["", " ", "https:///v1", "ftp://h", "file:///etc/passwd", "https://h:port", "https://h?x=1", "https://h#x"]


@pytest.mark.parametrize("url", MALFORMED, ids=repr)
def test_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        SegmindApi("SG_x", url)


@pytest.mark.parametrize("url", ["https://", "http://"])
def test_a_scheme_alone_is_no_host(url: str) -> None:
    with pytest.raises(ConfigurationError):
        SegmindApi("SG_x", url, allow_insecure=True)


@pytest.mark.parametrize("url", ["https://h/#", "https://h/?"])
def test_an_empty_query_or_fragment_does_not_swallow_the_path(url: str) -> None:
    try:
        base_url = SegmindApi("SG_x", url).base_url
    except ConfigurationError:
        return
    assert httpx.URL(f"{base_url}/v2/m").raw_path == b"/v2/m"


def test_a_password_in_the_url_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SegmindApi("SG_x", "https://user:SG_secret@api.segmind.com")
    assert "SG_secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " \n", None], ids=repr)
def test_no_key_is_an_error(key: Any) -> None:
    with pytest.raises(AuthenticationError, match="no API key"):
        SegmindApi(key)


@pytest.mark.parametrize("key", ["SG_\u00e4", "SG_x\r\nx-evil: 1", "SG_x\x00", "SG_\u200bx"], ids=repr)
def test_a_key_that_no_header_can_carry_is_rejected_without_being_shown(key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        SegmindApi(key)
    assert "SG_" not in str(caught.value)


def test_space_around_a_key_is_incomplete() -> None:
    assert SegmindApi(" SG_x\n").api_key == "SG_x"


def test_the_urls_in_responses_are_not_followed(
    connect: Connect, sandbox: Sandbox, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    elsewhere = raw_server()
    sandbox.configure(status_url_host=elsewhere.url)
    client = connect(sandbox.url)
    assert client.wait(client.submit(a_cat).request_id).urls
    reported = httpx.post(
        f"{sandbox.url}/v2/kandinsky2.1-txt2im", json={"prompt": "a dog"}, headers={"x-api-key": "SG_sandbox"}
    )
    assert reported.json()["status_url"].startswith(elsewhere.url)
    elsewhere.close()
    assert elsewhere.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    connect: Connect, sandbox: Sandbox, raw_server: Callable[..., Any], a_cat: TextToImageRequest, status: int
) -> None:
    elsewhere = raw_server()
    sandbox.fault("*", status=status, headers={"location": f"{elsewhere.url}/v2/x"}, times=9)
    client = connect(sandbox.url)
    for call in (
        lambda: client.submit(a_cat),
        lambda: client.generate(a_cat),
        lambda: client.get_status("r"),
        lambda: client.get_result("r"),
        client.get_credits,
    ):
        with pytest.raises(ConfigurationError, match="redirect, which is not followed"):
            call()
    elsewhere.close()
    assert elsewhere.received == []
    assert sandbox.count_calls() == 5
