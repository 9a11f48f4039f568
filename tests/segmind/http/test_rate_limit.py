"""All requests of a client pass one rate limiter."""

from __future__ import annotations

import asyncio
import math

import pytest

from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.call import Priority
from airflow_provider_kandinsky.segmind.http.rate_limit import RateLimiter, _limiter
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER

from ..virtual_time import run


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
def limiter(time: Time) -> RateLimiter:
    return RateLimiter(at_once=2, clock=time, rng=lambda: 0.5, sleep=time.sleep)


async def send(
    limiter: RateLimiter, *, refused: RateLimitedError | None = None, rank: Priority = Priority.RESULT
) -> None:
    async with limiter.slot(rank):
        if refused is not None:
            limiter.pause_for(refused)


@pytest.mark.parametrize(
    ("retry_after", "back_after"),
    [
        (None, 0.8),
        (2.0, 3.0),
        (30.0, 31.0),
        (7200.0, MAX_RETRY_AFTER + 1),
        (math.inf, MAX_RETRY_AFTER + 1),
        (1e308, MAX_RETRY_AFTER + 1),
        (0.0, 0.0),
        (-5.0, 0.0),
        (-math.inf, 0.0),
    ],
)
def test_after_a_429_no_request_passes_until_the_reset(
    limiter: RateLimiter, time: Time, retry_after: float | None, back_after: float
) -> None:
    async def requests() -> None:
        await send(limiter)
        assert time.now == 1000.0
        await send(limiter, refused=RateLimitedError("slow down", retry_after=retry_after))
        await send(limiter)
        assert time.now == pytest.approx(1000.0 + back_after)

    asyncio.run(requests())


@pytest.mark.parametrize(
    ("retry_after", "dice", "polls", "submissions"),
    [
        (30.0, 0.0, 30.0, 35.0),
        (30.0, 0.5, 31.0, 40.0),
        (30.0, 1.0, 32.0, 45.0),
        (2.0, 0.5, 3.0, 5.0),
        (1e9, 1.0, 62.0, 75.0),
        (None, 0.5, 0.8, 2.0),
    ],
)
def test_after_a_reset_polls_resume_before_submissions(
    retry_after: float | None, dice: float, polls: float, submissions: float
) -> None:
    async def requests() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(at_once=20, clock=loop.time, rng=lambda: dice)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=retry_after))
        sent_at: dict[Priority, float] = {}

        async def one(rank: Priority) -> None:
            async with limiter.slot(rank):
                sent_at[rank] = loop.time()

        await asyncio.gather(*map(one, Priority))
        assert sent_at[Priority.POLL] == pytest.approx(polls, abs=0.01)
        assert sent_at[Priority.RESULT] == pytest.approx(polls, abs=0.01)
        assert sent_at[Priority.SUBMIT] == pytest.approx(submissions, abs=0.01)

    run(requests())


@pytest.mark.parametrize(("limit", "wait"), [(None, 30.0), (2, None)], ids=["paused", "own limit"])
def test_a_submission_that_cannot_be_sent_in_time_fails_at_that_time(limit: float | None, wait: float | None) -> None:
    async def requests() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(limit, at_once=20, clock=loop.time, rng=lambda: 0.0)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=wait) if wait else None)
        with pytest.raises(RateLimitedError, match="had to wait for too long and was not sent") as caught:
            async with limiter.slot(Priority.SUBMIT, until=10.0):
                raise AssertionError("it was not allowed to be sent")
        assert loop.time() == pytest.approx(10.0, abs=0.01)
        assert caught.value.retry_after == (pytest.approx(25.0, abs=0.01) if wait else None)
        # It blocks no other request.
        await send(limiter, rank=Priority.SUBMIT)
        assert loop.time() == pytest.approx(35.0 if wait else 60.0, abs=0.01)

    run(requests())


def test_of_four_requests_one_is_a_submission_where_both_wait() -> None:
    async def requests() -> list[str]:
        came: list[str] = []
        limiter = RateLimiter(60_000, at_once=1)

        async def one(rank: Priority) -> None:
            async with limiter.slot(rank):
                came.append(rank.name[0])

        async with limiter.slot(Priority.POLL):
            ranks = [Priority.SUBMIT] * 4 + [Priority.POLL] * 6 + [Priority.RESULT] * 2
            waiting = [asyncio.create_task(one(rank)) for rank in ranks]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return came

    assert "".join(run(requests())) in ("SRRPSPPPSPPS", "SSRRPSPPPSPP")


def test_a_nearer_reset_does_not_open_the_gate_early(limiter: RateLimiter, time: Time) -> None:
    async def requests() -> None:
        async with limiter.slot(Priority.POLL), limiter.slot(Priority.POLL):
            limiter.pause_for(RateLimitedError("slow down", retry_after=30.0))
            limiter.pause_for(RateLimitedError("slow down", retry_after=1.0))
        await send(limiter)
        assert time.now >= 1030.0

    asyncio.run(requests())


def test_waiting_requests_are_sent_by_priority_and_then_in_order(limiter: RateLimiter) -> None:
    async def requests() -> list[str]:
        came: list[str] = []

        async def one(name: str, rank: Priority) -> None:
            async with limiter.slot(rank):
                came.append(name)

        async with limiter.slot(Priority.POLL), limiter.slot(Priority.POLL):
            waiting = []
            for name in ("first", "poll 1", "result 1", "submission", "poll 2", "result 2"):
                rank = {"p": Priority.POLL, "r": Priority.RESULT, "s": Priority.SUBMIT, "f": Priority.POLL}[name[0]]
                waiting.append(asyncio.create_task(one(name, rank)))
                await asyncio.sleep(0)
            assert came == [], "two are under way already"
        await asyncio.gather(*waiting)
        return came

    assert asyncio.run(requests()) == ["first", "submission", "result 1", "result 2", "poll 1", "poll 2"]


def test_a_cancelled_request_blocks_no_other(limiter: RateLimiter) -> None:
    async def requests() -> None:
        async with limiter.slot(Priority.POLL), limiter.slot(Priority.POLL):
            waiting = [asyncio.create_task(send(limiter)) for _ in range(6)]
            await asyncio.sleep(0)
            for each in (waiting[0], waiting[2], waiting[5]):
                each.cancel()
            await asyncio.sleep(0)
            # One more is cancelled at the very moment of its turn.
            waiting[1].cancel()
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), timeout=5)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, True, False, False, True]
        async with limiter.slot(Priority.POLL), limiter.slot(Priority.POLL):
            pass

    asyncio.run(requests())


@pytest.mark.parametrize("limit", [1, 2, 5, 50, 60, 600, 1000, 7200])
def test_no_minute_holds_more_than_the_limit(limit: float) -> None:
    bucket = _limiter(limit)
    assert bucket.max_rate + 60 * bucket.max_rate / bucket.time_period <= max(limit, 2)
    assert 60 * bucket.max_rate / bucket.time_period >= limit * 0.5, "and not much less either"


@pytest.mark.parametrize(("passed", "minutes", "learned"), [(60, 0.5, 60), (90, 1.1, 90)])
def test_a_limit_is_learned_from_a_429_and_grows(
    limiter: RateLimiter, time: Time, passed: int, minutes: float, learned: float
) -> None:
    async def requests() -> None:
        for _ in range(passed):
            await send(limiter)
        time.now += minutes * 60
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute == learned
        time.now += 63  # others may have used the plan at the time
        await send(limiter)
        assert limiter.requests_per_minute == 1.5 * learned
        for _ in range(20):
            time.now += 61
            await send(limiter)
        assert limiter.requests_per_minute is None

    asyncio.run(requests())


def test_a_learned_limit_holds_for_a_minute_after_the_reset(limiter: RateLimiter, time: Time) -> None:
    async def requests() -> None:
        for _ in range(60):
            await send(limiter)
        refused_at = time.now
        await send(limiter, refused=RateLimitedError("slow down", retry_after=30.0))
        for after, limit in ((30 + 60, 60), (30 + 60.5, 90), (30 + 120, 90), (30 + 121, 135)):
            time.now = refused_at + after
            await send(limiter)
            assert limiter.requests_per_minute == limit, after

    run(requests())


def test_a_limit_above_that_of_polls_is_no_limit(limiter: RateLimiter, time: Time) -> None:
    async def requests() -> None:
        for _ in range(4800):
            await send(limiter)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute == 4800
        time.now += 62
        await send(limiter)
        assert limiter.requests_per_minute is None

    asyncio.run(requests())


def test_what_passed_two_minutes_ago_does_not_count_for_the_limit(limiter: RateLimiter, time: Time) -> None:
    async def requests() -> None:
        for passed in (50, 30):
            for _ in range(passed):
                await send(limiter)
            time.now += 60.4
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute is None

    asyncio.run(requests())


def test_a_refused_request_did_not_pass(limiter: RateLimiter) -> None:
    async def requests() -> None:
        for passed in (59, 60):
            for _ in range(passed):
                await send(limiter)
            await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute == 60

    asyncio.run(requests())


def test_of_requests_refused_together_the_first_sets_the_limit(time: Time) -> None:
    async def requests() -> None:
        limiter = RateLimiter(at_once=80, clock=time, rng=lambda: 0.0, sleep=time.sleep)
        refusal = RateLimitedError("slow down", retry_after=1.0)
        for _ in range(70):
            await send(limiter)
        async with limiter.slot(Priority.RESULT), limiter.slot(Priority.RESULT):
            limiter.pause_for(refusal)
            limiter.pause_for(refusal)
        assert limiter.requests_per_minute == 70
        await send(limiter)
        assert time.now == 1001.0

    asyncio.run(requests())


def test_a_429_at_the_very_reset_begins_another_pause(time: Time) -> None:
    async def requests() -> None:
        limiter = RateLimiter(at_once=2, clock=time, rng=lambda: 0.0, sleep=time.sleep)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        for _ in range(70):
            await send(limiter)
        assert time.now == 1001.0
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute == 70

    asyncio.run(requests())


@pytest.mark.parametrize(
    ("limit", "rank", "seconds"),
    [
        (None, Priority.POLL, 4.92),
        (None, Priority.RESULT, 0.0),
        (None, Priority.SUBMIT, 0.0),
        (600, Priority.POLL, 60.0),
        (600, Priority.RESULT, 60.0),
        (600, Priority.SUBMIT, 60.0),
    ],
)
def test_a_configured_limit_holds_for_all_requests_and_the_default_for_polls_alone(
    limit: float | None, rank: Priority, seconds: float
) -> None:
    async def requests() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(limit, at_once=20, clock=loop.time)
        began = loop.time()
        await asyncio.gather(*(send(limiter, rank=rank) for _ in range(600)))
        assert loop.time() - began == pytest.approx(seconds, rel=0.02, abs=0.1)

    run(requests())


def test_who_waits_for_the_limit_does_not_slip_through_a_gate_that_has_closed_meanwhile() -> None:
    async def requests() -> None:
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(60, at_once=20, clock=loop.time, rng=lambda: 0.0)
        async with limiter.slot(Priority.RESULT):
            late = asyncio.create_task(send(limiter))
            await asyncio.sleep(0.5)
            assert not late.done(), "one a second is let through"
            limiter.pause_for(RateLimitedError("slow down", retry_after=30.0))
        await late
        assert loop.time() == pytest.approx(30.5, abs=0.1)

    run(requests())


@pytest.mark.parametrize(
    ("limit", "burst", "refill"),
    [
        (1, 1, 1),
        (1.5, 1, 1.5),
        (2, 1, 1),
        (60, 1, 59),
        (90, 1.5, 88.5),
        (600, 10, 590),
        (7200, 10, 7190),
    ],
)
def test_the_burst_is_taken_off_the_refill(limit: float, burst: float, refill: float) -> None:
    bucket = _limiter(limit)
    assert bucket.max_rate == pytest.approx(burst)
    assert 60 * bucket.max_rate / bucket.time_period == pytest.approx(refill)


def test_a_429_after_a_few_requests_sets_no_limit(limiter: RateLimiter, time: Time) -> None:
    async def requests() -> None:
        for _ in range(59):
            await send(limiter)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute is None

    asyncio.run(requests())


def test_a_configured_limit_is_not_learned(time: Time) -> None:
    async def requests() -> None:
        limiter = RateLimiter(60_000, at_once=2, clock=time, rng=lambda: 0.5, sleep=time.sleep)
        for _ in range(70):
            await send(limiter)
        await send(limiter, refused=RateLimitedError("slow down", retry_after=1.0))
        assert limiter.requests_per_minute == 60_000
        time.now += 120
        await send(limiter)
        assert limiter.requests_per_minute == 60_000

    asyncio.run(requests())
