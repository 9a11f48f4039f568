"""What goes wrong with a look, which is free: it is waited out, and never for longer than it may take."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]
PAGE = "<html><head><title>502 Bad Gateway</title></head></html>"
PASSING: list[dict[str, Any]] = [
    {"status": 429, "body": {"error": "Rate limit exceeded"}},
    {"status": 500, "body": {"error": "Internal server error"}},
    {"status": 502, "body": PAGE},
    {"status": 200, "body": '{"status": "COMPL'},
    {"drop": True},
]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("call", ["status", "result"])
def test_twenty_failed_looks_are_waited_out(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, call: str, seed: int
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    for fault in random.Random(seed).sample(PASSING * 4, 20):
        sandbox.fault(call, **fault)
    result = client.wait(job.request_id)
    assert len(result.urls) == 1
    assert result.looks == sandbox.count_calls(call, job.request_id) == 21
    assert [each["request_id"] for each in sandbox.submissions] == [job.request_id]
    assert sandbox.count_calls("submit") == 1


@pytest.mark.parametrize(
    ("reset", "lowest", "highest"),
    [("1700000030", 29, 34.5), ("2023-11-14T22:13:50Z", 29, 34.5), ("1700090000000", 60, 69), ("soon", 0.85, 1.3)],
    ids=["epoch seconds", "ISO", "epoch milliseconds, tomorrow", "garbage"],
)
def test_a_rate_limit_is_obeyed_between_looks(
    connect: Connect,
    sandbox: Sandbox,
    a_cat: TextToImageRequest,
    fake_time: Any,
    reset: str,
    lowest: float,
    highest: float,
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    sandbox.fault("status", status=429, headers={"x-rate-limit-reset-at-utc": reset})
    client.wait(job.request_id)
    assert len(fake_time.pauses) == 2  # before the first look and after the 429, but none before the result
    assert lowest - 1 <= fake_time.pauses[1] <= highest


def test_free_calls_are_not_repeated_behind_the_poller(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    for call, look in {"status": client.get_status, "result": client.get_result}.items():
        sandbox.fault(call, status=429, times=9)
        with pytest.raises(RateLimitedError):
            look("r")
        assert sandbox.count_calls(call) == 1


DRIP = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"


def test_a_server_that_drips_its_body_is_cut_off(connect: Connect, raw_server: Callable[..., Any]) -> None:
    server = raw_server(DRIP, *[b" "] * 200, gap=0.02)
    started = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        connect(server.url, request_timeout=0.2).get_status("r-1")
    assert 0.15 < time.monotonic() - started < 1.5


def test_a_server_that_drips_its_headers_is_cut_off(connect: Connect, raw_server: Callable[..., Any]) -> None:
    head = [b"X-%d: y\r\n" % number for number in range(25)]
    server = raw_server(b"HTTP/1.1 422 No\r\nConnection: close\r\n", *head, b"\r\n", gap=0.02)
    with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        connect(server.url, request_timeout=0.2).get_status("r-1")


def test_asking_for_credits_never_costs(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    for fault in ({"status": 500}, {"drop": True}):
        sandbox.fault("credits", **fault)
        with pytest.raises(ServiceUnavailableError) as caught:
            client.get_credits()
        assert caught.value.billing == "no"
