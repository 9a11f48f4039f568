"""All requests of an account pass one gate."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.pacing import Gate, _limiter
from airflow_provider_kandinsky.segmind.polling import LONGEST_ADVISED_WAIT


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def gate(time: Time) -> Gate:
    return Gate(clock=time, rng=lambda: 0.5, sleep=time.sleep)


@pytest.mark.parametrize(
    ("advice", "back_after"),
    [(None, 1.2), (2.0, 3.0), (30.0, 32.5), (7200.0, LONGEST_ADVISED_WAIT + 2.5)],
)
def test_after_a_429_nobody_passes_until_the_reset(
    gate: Gate, time: Time, advice: float | None, back_after: float
) -> None:
    asyncio.run(gate.enter())
    assert time.now == 1000.0

    gate.close(RateLimitedError("slow down", retry_after=advice))
    asyncio.run(gate.enter())
    assert time.now == pytest.approx(1000.0 + back_after)

    asyncio.run(gate.enter())
    assert time.now == pytest.approx(1000.0 + back_after)


def test_a_nearer_reset_does_not_open_the_gate_early(gate: Gate, time: Time) -> None:
    gate.close(RateLimitedError("slow down", retry_after=30.0))
    gate.close(RateLimitedError("slow down", retry_after=1.0))
    asyncio.run(gate.enter())
    assert time.now >= 1030.0


@pytest.mark.parametrize("limit", [1, 2, 5, 50, 60, 600, 1000])
def test_no_minute_holds_more_than_the_limit(limit: float) -> None:
    limiter = _limiter(limit)
    assert limiter.max_rate + 60 * limiter.max_rate / limiter.time_period <= max(limit, 2)
    assert 60 * limiter.max_rate / limiter.time_period >= limit * 0.5, "and not much less either"
