"""A triggerer that stalled delivers nothing before Airflow has cancelled what is no longer its own."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger
from airflow_provider_kandinsky.triggers.stall_guard import StallGuard, stall_guard_of_this_loop


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
def guard(clock: Clock) -> StallGuard:
    return StallGuard(health_check_threshold=30, reassignment_grace=10, clock=clock, sleep=clock.sleep)


def pauses_after(guard: StallGuard, clock: Clock) -> list[float]:
    asyncio.run(guard.wait_for_reassignment())
    return clock.pauses


def test_without_a_stall_there_is_no_wait(guard: StallGuard, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 1
        guard.heartbeat()
    assert pauses_after(guard, clock) == []


@pytest.mark.parametrize(("stall", "pauses"), [(15, []), (15.1, [10]), (60, [10]), (86400, [10])])
def test_after_a_stall_there_is_a_grace_period(
    guard: StallGuard, clock: Clock, stall: float, pauses: list[float]
) -> None:
    clock.now += stall
    guard.heartbeat()
    assert pauses_after(guard, clock) == pauses


def test_the_grace_period_begins_with_the_end_of_the_stall(guard: StallGuard, clock: Clock) -> None:
    clock.now += 60
    guard.heartbeat()
    for _ in range(4):
        clock.now += 1
        guard.heartbeat()
    assert pauses_after(guard, clock) == [6]
    assert pauses_after(guard, clock) == [6]


def test_another_stall_begins_the_grace_period_again(clock: Clock) -> None:
    async def sleep(seconds: float) -> None:
        clock.now += 60 if not clock.pauses else 0
        await clock.sleep(seconds)
        guard.heartbeat()

    guard = StallGuard(health_check_threshold=30, reassignment_grace=10, clock=clock, sleep=sleep)
    clock.now += 60
    guard.heartbeat()
    assert pauses_after(guard, clock) == [10, 10]


def test_a_clock_that_is_set_back_is_no_stall(guard: StallGuard, clock: Clock) -> None:
    clock.now -= 3600
    guard.heartbeat()
    assert pauses_after(guard, clock) == []


def test_a_trigger_whose_event_loop_stalled_delivers_after_the_grace_period(sandbox: Sandbox) -> None:
    """The response that it waits for has come meanwhile, and is due together with the heartbeat."""
    sandbox.configure(latency=0)
    with KandinskyHook() as hook:
        job = hook.submit({"prompt": "a cat"})
    sandbox.fault("status", stall=0.5)
    trigger = KandinskyJobTrigger(
        job.request_id, submitted_at=time.time(), deadline=time.time() + 60, poll_interval=0.05
    )

    async def fire_during_a_stall() -> float:
        stall_guard_of_this_loop(partial(StallGuard, health_check_threshold=2.4, reassignment_grace=0.5))
        loop = asyncio.get_running_loop()
        started = loop.time()
        loop.call_later(0.3, time.sleep, 1.5)
        (event,) = [event async for event in trigger.run()]
        assert "result" in event.payload
        return loop.time() - started

    assert asyncio.run(fire_during_a_stall()) > 0.3 + 1.5 + 0.4
