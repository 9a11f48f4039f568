"""All requests of an account pass one gate."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_kandinsky.segmind.calls import Rank
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
    return Gate(at_once=2, clock=time, rng=lambda: 0.5, sleep=time.sleep)


async def send(gate: Gate, *, refused: RateLimitedError | None = None, rank: Rank = Rank.ANSWER) -> None:
    async with gate.passage(rank):
        if refused is not None:
            gate.close(refused)


@pytest.mark.parametrize(
    ("advice", "back_after"),
    [(None, 1.2), (2.0, 3.0), (30.0, 32.5), (7200.0, LONGEST_ADVISED_WAIT + 2.5)],
)
def test_after_a_429_nobody_passes_until_the_reset(
    gate: Gate, time: Time, advice: float | None, back_after: float
) -> None:
    async def requests() -> None:
        await send(gate)
        assert time.now == 1000.0
        await send(gate, refused=RateLimitedError("slow down", retry_after=advice))
        await send(gate)
        assert time.now == pytest.approx(1000.0 + back_after)

    asyncio.run(requests())


def test_a_nearer_reset_does_not_open_the_gate_early(gate: Gate, time: Time) -> None:
    async def requests() -> None:
        async with gate.passage(Rank.LOOK), gate.passage(Rank.LOOK):
            gate.close(RateLimitedError("slow down", retry_after=30.0))
            gate.close(RateLimitedError("slow down", retry_after=1.0))
        await send(gate)
        assert time.now >= 1030.0

    asyncio.run(requests())


def test_who_waits_is_let_in_by_rank_and_then_in_the_order_they_came(gate: Gate) -> None:
    async def requests() -> list[str]:
        came: list[str] = []

        async def one(name: str, rank: Rank) -> None:
            async with gate.passage(rank):
                came.append(name)

        async with gate.passage(Rank.LOOK), gate.passage(Rank.LOOK):
            waiting = []
            for name in ("held up", "look 1", "answer 1", "purchase", "look 2", "answer 2"):
                rank = {"l": Rank.LOOK, "a": Rank.ANSWER, "p": Rank.PURCHASE, "h": Rank.LOOK}[name[0]]
                waiting.append(asyncio.create_task(one(name, rank)))
                await asyncio.sleep(0)
            assert came == [], "two are under way already"
        await asyncio.gather(*waiting)
        return came

    assert asyncio.run(requests()) == ["held up", "purchase", "answer 1", "answer 2", "look 1", "look 2"]


def test_who_gives_up_waiting_holds_up_nobody(gate: Gate) -> None:
    async def requests() -> None:
        async with gate.passage(Rank.LOOK), gate.passage(Rank.LOOK):
            waiting = [asyncio.create_task(send(gate)) for _ in range(6)]
            await asyncio.sleep(0)
            for each in (waiting[0], waiting[2], waiting[5]):
                each.cancel()
            await asyncio.sleep(0)
            # One more gives up at the very moment in which it is let in.
            waiting[1].cancel()
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), timeout=5)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, True, False, False, True]
        async with gate.passage(Rank.LOOK), gate.passage(Rank.LOOK):
            pass

    asyncio.run(requests())


@pytest.mark.parametrize("limit", [1, 2, 5, 50, 60, 600, 1000, 7200])
def test_no_minute_holds_more_than_the_limit(limit: float) -> None:
    limiter = _limiter(limit)
    assert limiter.max_rate + 60 * limiter.max_rate / limiter.time_period <= max(limit, 2)
    assert 60 * limiter.max_rate / limiter.time_period >= limit * 0.5, "and not much less either"


@pytest.mark.parametrize(("passed", "minutes", "learned"), [(60, 0.5, 60), (90, 1.1, 90)])
def test_a_429_tells_the_limit_for_a_while(gate: Gate, time: Time, passed: int, minutes: float, learned: float) -> None:
    async def requests() -> None:
        for _ in range(passed):
            await send(gate)
        time.now += minutes * 60
        await send(gate, refused=RateLimitedError("slow down", retry_after=1.0))
        assert gate.requests_per_minute == learned
        time.now += 63  # it may have been met because others were at work at the time
        await send(gate)
        assert gate.requests_per_minute == 1.5 * learned
        for _ in range(20):
            time.now += 61
            await send(gate)
        assert gate.requests_per_minute is None

    asyncio.run(requests())


def test_a_429_after_a_few_requests_is_the_work_of_others(gate: Gate, time: Time) -> None:
    async def requests() -> None:
        for _ in range(59):
            await send(gate)
        await send(gate, refused=RateLimitedError("slow down", retry_after=1.0))
        assert gate.requests_per_minute is None

    asyncio.run(requests())


def test_a_limit_that_is_given_is_not_learned(time: Time) -> None:
    async def requests() -> None:
        gate = Gate(600, at_once=2, clock=time, rng=lambda: 0.5, sleep=time.sleep)
        await send(gate, refused=RateLimitedError("slow down", retry_after=1.0))
        assert gate.requests_per_minute == 600

    asyncio.run(requests())
