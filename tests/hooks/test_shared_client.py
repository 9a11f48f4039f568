"""One client, one connection lookup and one rate limiter for all the triggers of an event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_kandinsky.hooks.shared_client import _pools, poll_with_shared_client, shared_client
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, TextToImageRequest
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger

from ..support.running_jobs import keep_running
from ..support.task_instance import QUICK, FakeTaskInstance, paint


def trigger(request_id: str, timeout: float = 10) -> KandinskyJobTrigger:
    now = time.time()
    trigger = KandinskyJobTrigger(request_id, submitted_at=now, deadline=now + timeout, poll_interval=0.05)
    trigger.poll_policy = QUICK
    return trigger


async def fire(trigger: KandinskyJobTrigger) -> dict[str, object]:
    (event,) = [event.payload async for event in trigger.run()]
    return event


def test_all_users_of_a_connection_share_a_client(sandbox: Sandbox) -> None:
    async def use() -> set[int]:
        async with shared_client("kandinsky_default") as first, shared_client("kandinsky_default") as second:
            return {id(first), id(second)}

    assert len(asyncio.run(use())) == 1


def test_the_last_one_closes_it(sandbox: Sandbox) -> None:
    async def use() -> tuple[AsyncSegmindClient, bool]:
        async with shared_client("kandinsky_default") as client:
            async with shared_client("kandinsky_default"):
                pass
            open_meanwhile = not client._sender._http.is_closed
        assert not _pools[asyncio.get_running_loop()]
        return client, open_meanwhile

    client, open_meanwhile = asyncio.run(use())
    assert open_meanwhile
    assert client._sender._http.is_closed


def test_a_cancelled_user_leaves_the_client_to_the_others(sandbox: Sandbox) -> None:
    sandbox.configure(latency=0.5)
    request_ids = [FakeTaskInstance().run(paint(wait_for_completion=False, seed=seed)) for seed in range(3)]

    async def race() -> dict[str, object]:
        first, *others = [asyncio.create_task(fire(trigger(request_id))) for request_id in request_ids]
        await asyncio.sleep(0.2)
        for other in others:
            other.cancel()
        return await first

    assert "result" in asyncio.run(race())


def test_a_new_event_loop_has_a_client_of_its_own(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    assert "result" in asyncio.run(fire(trigger(request_id)))
    assert "result" in asyncio.run(fire(trigger(request_id)))


def test_a_rotated_key_is_picked_up(sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_running(sandbox)
    request_id = ti.run(paint(wait_for_completion=False))

    async def rotate() -> dict[str, object]:
        waiting = asyncio.create_task(fire(trigger(request_id)))
        while not sandbox.count_calls("status"):
            await asyncio.sleep(0.01)
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", "SG_new"))
        sandbox.configure(api_keys=["SG_new"])
        sandbox.clear_faults()
        return await waiting

    assert "result" in asyncio.run(rotate())
    assert 401 in {call["status"] for call in sandbox.calls("status")}


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_stays_bad_is_waited_out_until_the_deadline(
    sandbox: Sandbox, ti: FakeTaskInstance, status: int
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    sandbox.fault("status", status=status, body={"error": "no"}, times=999)
    event = asyncio.run(fire(trigger(request_id, timeout=0.5)))
    error: dict[str, object] = event["error"]  # type: ignore[assignment]
    assert (error["type"], error["retryable"], error["request_id"]) == ("JobTimeoutError", True, request_id)
    assert "the last poll failed: The " in str(error["message"])
    assert sandbox.count_calls("status") > 1


def test_a_connection_that_has_no_key_for_a_while_is_waited_out(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", ""))

    async def mend() -> GenerationResult:
        now = time.time()
        times = {"submitted_at": now, "deadline": now + 10, "poll_interval": 0.05, "lookup_interval": 0.1}
        waiting = asyncio.create_task(poll_with_shared_client("kandinsky_default", request_id, None, **times))
        while "There is no API key" not in caplog.text:
            await asyncio.sleep(0.01)
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection())
        return await waiting

    assert asyncio.run(mend()).urls


def test_a_connection_that_never_has_a_key_is_waited_out_until_the_deadline(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", ""))

    event = asyncio.run(fire(trigger(request_id, timeout=0.3)))
    error: dict[str, object] = event["error"]  # type: ignore[assignment]
    assert (error["type"], error["retryable"]) == ("JobTimeoutError", True)
    assert "There is no API key" in str(error["message"])
    assert not any(_pools.values())


def test_a_failed_lookup_is_shared_by_all_users_for_some_seconds(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", ""))

    async def mend_after_the_first_lookup() -> list[dict[str, object]]:
        first = asyncio.create_task(fire(trigger(request_id, timeout=1)))
        while "There is no API key" not in caplog.text:
            await asyncio.sleep(0.01)
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection())
        others = [fire(trigger(request_id, timeout=0.3)) for _ in range(20)]
        return await asyncio.gather(first, *others)

    events = asyncio.run(mend_after_the_first_lookup())
    assert len(events) == 21
    assert all("There is no API key" in str(event["error"]) for event in events)


def test_within_the_plans_limit_there_is_no_429(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1200 a minute, 30 polls take one second and more; without the rate limiter they take a fraction of one."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(requests_per_minute=1200))

    async def poll_often() -> float:
        async with shared_client("kandinsky_default") as client:
            job = await client.submit(TextToImageRequest(prompt="a cat"))
            start = time.monotonic()
            await asyncio.gather(*(client.get_status(job.request_id) for _ in range(30)))
            return time.monotonic() - start

    assert asyncio.run(poll_often()) > 0.95
