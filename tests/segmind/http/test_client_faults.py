"""What goes wrong with a poll, which is free: it is waited out, and never for longer than it may take."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    JobTimeoutError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.sender import KEY_REFRESH_INTERVAL
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
def test_twenty_failed_polls_are_waited_out(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, call: str, seed: int
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    for fault in random.Random(seed).sample(PASSING * 4, 20):
        sandbox.fault(call, **fault)
    result = client.wait(job.request_id)
    assert len(result.urls) == 1
    assert result.polls == sandbox.count_calls(call, job.request_id) == 21
    assert [each["request_id"] for each in sandbox.submissions] == [job.request_id]
    assert sandbox.count_calls("submit") == 1


@pytest.mark.parametrize(
    ("reset", "lowest", "highest"),
    [("1700000030", 29, 34.5), ("2023-11-14T22:13:50Z", 29, 34.5), ("1700090000000", 60, 69), ("soon", 0.85, 1.3)],
    ids=["epoch seconds", "ISO", "epoch milliseconds, tomorrow", "garbage"],
)
def test_a_rate_limit_is_respected_between_polls(
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
    # Before the first poll and after the 429, there perhaps in two parts; but not before the result.
    assert len(fake_time.pauses) in (2, 3)
    assert lowest - 1 <= sum(fake_time.pauses[1:]) <= highest


def test_free_calls_are_not_repeated_behind_the_poller(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    for call, send in {"status": client.get_status, "result": client.get_result}.items():
        sandbox.fault(call, status=429, times=9)
        with pytest.raises(RateLimitedError):
            send("r")
        assert sandbox.count_calls(call) == 1


REFUSALS: list[dict[str, Any]] = [
    {"status": 401, "body": {"error": "Invalid API key"}},
    {"status": 403, "body": PAGE},
    {"status": 404, "body": {"error": "not found"}},
    {"status": 400, "body": {"error": "bad"}},
    {"status": 402, "body": {"error": "insufficient credits"}},
    {"status": 405, "body": PAGE},
    {"status": 406, "body": {"error": "insufficient credits"}},
    {"status": 410, "body": {"error": "retired"}},
    {"status": 302, "headers": {"location": "https://elsewhere.test/"}},
]


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda fault: str(fault["status"]))
@pytest.mark.parametrize("call", ["status", "result"])
def test_a_refusal_on_a_poll_does_not_end_the_wait_for_a_job_that_was_accepted(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, call: str, fault: dict[str, Any]
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    sandbox.fault(call, times=3, **fault)
    assert len(client.wait(job.request_id).urls) == 1
    assert sandbox.count_calls(call, job.request_id) == 4


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"drop": True}, {"body": PAGE}], ids=str)
def test_a_last_poll_without_a_response_does_not_lose_a_job_that_is_finished(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, fault: dict[str, Any]
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    sandbox.fault("status", times=3, **fault)
    now = fake_time.now
    result = client.poll_until_done(job.request_id, submitted_at=now - 100, deadline=now)
    assert len(result.urls) == 1
    assert sandbox.count_calls("status", job.request_id) == 4


def test_a_small_job_outlasts_six_errors_although_it_is_first_polled_late(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    """A busy triggerer starts the trigger of a job of 2 s after half a minute."""
    client = connect(sandbox.url)
    job, now = client.submit(a_cat), fake_time.now
    sandbox.fault("status", status=500, times=6)
    client.poll_until_done(job.request_id, submitted_at=now - 30, deadline=now + 30)
    assert fake_time.now - now < 25


class Keys:
    """Keys as a connection has them, one after another; the last one stays."""

    def __init__(self, *keys: str | Exception) -> None:
        self.keys = list(keys)
        self.read = 0

    async def __call__(self) -> str:
        self.read += 1
        key = self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]
        if isinstance(key, Exception):
            raise key
        return key


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_was_changed_is_read_again_and_goes_with_all_that_follows(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, status: int
) -> None:
    keys = Keys("SG_new")
    client = connect(sandbox.url, read_key=keys)
    job = client.submit(a_cat)
    sandbox.configure(api_keys=["SG_sandbox", "SG_new"])
    sandbox.fault("status", status=status)
    assert len(client.wait(job.request_id).urls) == 1
    sandbox.configure(api_keys=["SG_new"])
    assert client.submit(a_cat).request_id
    assert keys.read == 1
    assert [each["status"] for each in sandbox.calls("status")] == [status, 200]


def test_the_key_is_read_again_every_half_minute_at_most_and_the_wait_outlasts_what_that_meets(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys("SG_sandbox", OSError("no vault for SG_new"), "", "SG_new")
    client = connect(sandbox.url, read_key=keys)
    job = client.submit(a_cat)
    sandbox.configure(api_keys=["SG_new"])
    started = fake_time.now
    assert len(client.wait(job.request_id).urls) == 1
    assert keys.read == 4
    assert 3 * KEY_REFRESH_INTERVAL <= fake_time.now - started < 5 * KEY_REFRESH_INTERVAL
    assert "could not be read again" in caplog.text
    assert "OSError" in caplog.text
    assert "There is no API key" in caplog.text
    assert "SG_" not in caplog.text


def test_a_key_that_stays_bad_is_waited_out_until_the_deadline(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    sandbox.configure(api_keys=["SG_other"])
    started = fake_time.now
    with pytest.raises(JobTimeoutError, match="rejected the API key") as caught:
        client.wait(job.request_id, timeout=120)
    assert fake_time.now - started == pytest.approx(120, abs=1)
    assert caught.value.retryable


@pytest.mark.parametrize("call", ["submit", "get_credits", "get_status"])
def test_a_bad_key_fails_other_calls_immediately(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, call: str
) -> None:
    keys = Keys("SG_new")
    sandbox.configure(api_keys=["SG_new"])
    client = connect(sandbox.url, read_key=keys)
    arguments = {"submit": [a_cat], "get_credits": [], "get_status": ["r-1"]}[call]
    with pytest.raises(AuthenticationError):
        getattr(client, call)(*arguments)
    assert keys.read == 0


def test_a_response_that_comes_after_the_key_was_changed_repeats_neither(fake_time: Any) -> None:
    """The old key went out with it."""

    async def overlap() -> str:
        changed = asyncio.Event()

        async def respond(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/old/status"):
                await changed.wait()
                return httpx.Response(400, json={"error": f"bad key {request.headers['x-api-key']}"})
            return httpx.Response(401)

        client = AsyncSegmindClient(
            "SG_old_key", transport=httpx.MockTransport(respond), read_key=Keys("SG_new_key"), clock=fake_time.clock
        )
        async with client:
            late = asyncio.create_task(client.get_status("old"))
            await asyncio.sleep(0.01)
            assert await client.refresh_key()
            changed.set()
            with pytest.raises(KandinskyError) as caught:
                await late
            return str(caught.value)

    assert "SG_old_key" not in asyncio.run(overlap())


DRIP = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"


def test_a_server_that_drips_its_body_is_incomplete(connect: Connect, raw_server: Callable[..., Any]) -> None:
    server = raw_server(DRIP, *[b" "] * 200, gap=0.02)
    with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        connect(server.url, request_timeout=0.2).get_status("r-1")


def test_a_server_that_drips_its_headers_is_incomplete(connect: Connect, raw_server: Callable[..., Any]) -> None:
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
