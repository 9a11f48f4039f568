"""The log has changes, not requests; and of other people's requests it has what it always had."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]
KEY = "SG_f00dfeedc0ffee42"


def lines(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith(name)]


def test_requests_are_logged_at_debug_only(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(sandbox.url)
    caplog.set_level(logging.INFO, "httpx")
    client.submit(a_cat)
    assert lines(caplog, "httpx") == []
    caplog.set_level(logging.DEBUG, "httpx")
    client.submit(a_cat)
    assert len(lines(caplog, "httpx")) == 1


def test_requests_of_others_are_logged_as_before(
    connect: Connect, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    connect(sandbox.url).get_credits()
    caplog.set_level(logging.INFO, "httpx")
    httpx.get(sandbox.url)
    (line,) = lines(caplog, "httpx")
    assert line.startswith("HTTP Request: GET")


def test_an_echo_of_the_key_in_a_header_is_hidden(
    connect: Connect, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore")
    sandbox.fault("status", status=200, headers={"x-your-key": KEY}, body={"status": "QUEUED"}, times=1)
    connect(sandbox.url, KEY).get_status("r-1")
    (headers,) = (line for line in lines(caplog, "httpcore.http11") if "x-your-key" in line.lower())
    assert KEY not in headers
    assert "b'***'" in headers


@pytest.mark.parametrize(
    ("level", "reported"),
    [(logging.INFO, []), (logging.WARNING, ["*** and another are bad"]), (logging.ERROR, ["*** and another are bad"])],
)
def test_a_warning_about_an_own_request_has_no_key(
    caplog: pytest.LogCaptureFixture, level: int, reported: list[str]
) -> None:
    caplog.set_level(logging.INFO, "httpx")
    with redact_request_logs(KEY):
        logging.getLogger("httpx").log(level, "%s and %s are bad", KEY, "another")
    assert lines(caplog, "httpx") == reported
    logging.getLogger("httpx").info("%s is sent to others", "all")
    assert lines(caplog, "httpx") == [*reported, "all is sent to others"]


@pytest.mark.parametrize("key", ["SG_back\\slash", "SG_quo'te", 'SG_quo"te', "SG_'both\"", "SG_\\'\"all", "SG_a+b/c="])
@pytest.mark.parametrize("around", [b"%s", b"'%s'", b'"%s"', b"'\"%s"])
def test_a_key_that_repr_escapes_is_hidden(
    connect: Connect,
    raw_server: Callable[..., Any],
    a_cat: TextToImageRequest,
    caplog: pytest.LogCaptureFixture,
    key: str,
    around: bytes,
) -> None:
    echo = around % key.encode()
    server = raw_server(b"HTTP/1.1 400 " + echo + b"\r\nX-Your-Key: " + echo + b"\r\nContent-Length: 0\r\n\r\n")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KandinskyError) as caught:
        connect(server.url, key).submit(a_cat)
    assert "x-your-key" in caplog.text.lower()
    written = caplog.text + str(caught.value)
    # However it is escaped, its letters in a row would show it.
    plain = written.replace("\\", "").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
    assert key.replace("\\", "") not in plain
