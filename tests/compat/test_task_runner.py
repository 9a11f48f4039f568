from __future__ import annotations

import asyncio
import signal
import time

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowTaskTimeout
from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner

from ..support.airflow_names import TimeoutPosix


def is_busy() -> None:
    """Keep the loop busy until well after the alarm, so that it goes off in here."""
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass


async def be_busy() -> None:
    is_busy()


async def with_a_busy_callback() -> None:
    asyncio.get_running_loop().call_soon(is_busy)
    await asyncio.sleep(60)


async def with_a_busy_task_that_nobody_waits_for() -> None:
    task = asyncio.create_task(be_busy())
    await asyncio.sleep(60)
    assert task.done()


async def asleep() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("work", [with_a_busy_callback, with_a_busy_task_that_nobody_waits_for, asleep, be_busy])
def test_the_execution_timeout_ends_the_loop_wherever_it_is(work: object) -> None:
    over = time.monotonic() + 30
    with TimeoutAwareRunner() as runner, TimeoutPosix(0.1), pytest.raises(AirflowTaskTimeout):
        runner.run(work())  # type: ignore[operator]
    assert time.monotonic() < over


def test_without_a_timeout_nothing_is_changed() -> None:
    async def compute() -> int:
        return 42

    with TimeoutAwareRunner() as runner:
        assert runner.run(compute()) == 42
        with TimeoutPosix(5):
            handler = signal.getsignal(signal.SIGALRM)
            assert runner.run(compute()) == 42
            assert signal.getsignal(signal.SIGALRM) == handler
