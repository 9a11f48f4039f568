"""A triggerer that was away finds out what it has lost before it delivers anything."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger
from airflow_provider_kandinsky.triggers.stall_guard import StallGuard


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stalls(clock: Clock) -> StallGuard:
    return StallGuard(given_up_after=30, news_within=10, clock=clock, sleep=clock.sleep)


def pauses_after(stalls: StallGuard, clock: Clock) -> list[float]:
    asyncio.run(stalls.wait_for_reassignment())
    return clock.pauses


def test_without_a_stall_nobody_waits(stalls: StallGuard, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 1
        stalls.heartbeat()
    assert pauses_after(stalls, clock) == []


@pytest.mark.parametrize(("away", "pauses"), [(15, []), (15.1, [10]), (60, [10]), (86400, [10])])
def test_after_a_stall_there_is_time_to_be_told(
    stalls: StallGuard, clock: Clock, away: float, pauses: list[float]
) -> None:
    clock.now += away
    stalls.heartbeat()
    assert pauses_after(stalls, clock) == pauses


def test_it_counts_from_when_it_woke(stalls: StallGuard, clock: Clock) -> None:
    clock.now += 60
    stalls.heartbeat()
    for _ in range(4):
        clock.now += 1
        stalls.heartbeat()
    assert pauses_after(stalls, clock) == [6]
    assert pauses_after(stalls, clock) == [6]


def test_who_stalls_again_meanwhile_waits_anew(clock: Clock) -> None:
    async def sleep(seconds: float) -> None:
        clock.now += 60 if not clock.pauses else 0
        await clock.sleep(seconds)
        stalls.heartbeat()

    stalls = StallGuard(given_up_after=30, news_within=10, clock=clock, sleep=sleep)
    clock.now += 60
    stalls.heartbeat()
    assert pauses_after(stalls, clock) == [10, 10]


def test_a_clock_that_is_set_back_is_no_stall(stalls: StallGuard, clock: Clock) -> None:
    clock.now -= 3600
    stalls.heartbeat()
    assert pauses_after(stalls, clock) == []


def test_a_trigger_whose_loop_was_held_up_waits_for_the_news(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though what it waited for has come meanwhile, and is as due as the heartbeat."""
    monkeypatch.setattr(
        "airflow_provider_kandinsky.triggers.stall_guard.StallGuard",
        partial(StallGuard, given_up_after=2.4, news_within=0.5),
    )
    sandbox.configure(latency=0)
    with KandinskyHook() as hook:
        job = hook.submit({"prompt": "a cat"})
    sandbox.fault("status", stall=0.5)
    trigger = KandinskyJobTrigger(
        job.request_id, submitted_at=time.time(), deadline=time.time() + 60, poll_interval=0.05
    )

    async def fire_held_up() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        loop.call_later(0.3, time.sleep, 1.5)
        (event,) = [event async for event in trigger.run()]
        assert "result" in event.payload
        return loop.time() - started

    assert asyncio.run(fire_held_up()) > 0.3 + 1.5 + 0.4
