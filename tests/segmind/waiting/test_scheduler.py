"""Many waits in one scheduler: each gets its own result, and none blocks another."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import JobFailedError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.waiting.scheduler import PollScheduler

from ..virtual_time import T0, run


class FakePolls:
    """Polls that take a while, and find what the request id says."""

    def __init__(self, takes: float = 0.1) -> None:
        self.takes = takes
        self.seen: list[tuple[float, str]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, poller: JobPoller, model: str | None) -> GenerationResult | float:
        self.seen.append((asyncio.get_running_loop().time(), poller.request_id))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        kind, _, seconds = poller.request_id.partition(" ")
        if kind == "failed":
            raise JobFailedError("it failed")
        if kind == "broken":
            raise ZeroDivisionError
        if asyncio.get_running_loop().time() < float(seconds):
            return 1.0
        return GenerationResult(poller.request_id, (Image("https://images.segmind.com/cat.png"),), model)


def poller(name: str, *, submitted_at: float = T0, interval: float | None = None, **settings: Any) -> JobPoller:
    return JobPoller(name, submitted_at=submitted_at, deadline=T0 + 900, poll_interval=interval, **settings)


def schedule(polls: FakePolls, workers: int = 3) -> PollScheduler:
    loop = asyncio.get_running_loop()
    return PollScheduler(polls, workers=workers, clock=lambda: T0 + loop.time(), sleep=asyncio.sleep)


def test_each_gets_its_own_result_or_error() -> None:
    async def crowd() -> None:
        scheduler = schedule(FakePolls())
        names = ["done 3", "failed 0", "done 40", "broken 0", "done 0"]
        found = await asyncio.gather(
            *(scheduler.poll_until_done(poller(name), name) for name in names), return_exceptions=True
        )
        kinds = [GenerationResult, JobFailedError, GenerationResult, ZeroDivisionError, GenerationResult]
        assert [type(each) for each in found] == kinds
        assert [each.model for each in found if isinstance(each, GenerationResult)] == ["done 3", "done 40", "done 0"]

    run(crowd())


def test_a_job_is_polled_when_its_poller_says(caplog: pytest.LogCaptureFixture) -> None:
    async def one() -> None:
        polls = FakePolls()
        await asyncio.wait_for(schedule(polls).poll_until_done(poller("done 10", interval=7.0), "m"), timeout=900)
        assert [at for at, _ in polls.seen] == pytest.approx([7.0, 8.1, 9.2, 10.3], abs=1e-3)
        assert asyncio.get_running_loop().time() == pytest.approx(10.4, abs=1e-3)

    run(one())
    assert caplog.records == [], "no task failed unseen"


def test_a_job_that_may_be_finished_is_polled_at_once() -> None:
    async def one() -> None:
        polls = FakePolls()
        await schedule(polls).poll_until_done(poller("done 0", submitted_at=T0 - 600, rng=lambda: 0.0), None)
        assert polls.seen == [(pytest.approx(0.0, abs=1e-3), "done 0")]

    run(one())


def test_jobs_that_are_due_at_one_time_are_polled_in_order() -> None:
    """Some clocks are so coarse that many are."""

    async def crowd() -> None:
        polls, loop = FakePolls(), asyncio.get_running_loop()
        scheduler = PollScheduler(polls, workers=3, clock=lambda: T0 + round(loop.time(), 1), sleep=asyncio.sleep)
        names = ["done 20", "done 20.0", "done 20.00"]
        waits = asyncio.gather(*(scheduler.poll_until_done(poller(name, interval=7.0), None) for name in names))
        await asyncio.wait_for(waits, timeout=900)
        assert [name for _, name in polls.seen[:9]] == names * 3

    run(crowd())


def test_no_more_polls_run_at_a_time_than_there_are_workers_and_the_longest_due_goes_first() -> None:
    async def crowd() -> None:
        polls = FakePolls(takes=2.0)
        scheduler = schedule(polls)
        await asyncio.gather(*(scheduler.poll_until_done(poller("done 60"), str(number)) for number in range(30)))
        assert polls.most_at_once == 3
        gaps = [later - earlier for (earlier, _), (later, _) in zip(polls.seen, polls.seen[30:], strict=False)]
        assert max(gaps) < 1.5 * 30 * 2.0 / 3, "no job is passed over"

    run(crowd())


def test_an_earlier_poll_is_not_held_up_by_a_later_one() -> None:
    async def crowd() -> None:
        polls = FakePolls()
        scheduler = schedule(polls)
        old = asyncio.create_task(scheduler.poll_until_done(poller("done 0", submitted_at=T0 - 600), None))
        await asyncio.sleep(0)
        await scheduler.poll_until_done(poller("done 0"), None)
        assert asyncio.get_running_loop().time() < 2
        await old

    run(crowd())


def test_a_cancelled_wait_is_not_polled_any_more() -> None:
    async def crowd() -> None:
        polls = FakePolls()
        scheduler = schedule(polls)
        gone = asyncio.create_task(scheduler.poll_until_done(poller("gone 99"), None))
        stays = asyncio.create_task(scheduler.poll_until_done(poller("done 20"), None))
        await asyncio.sleep(5)
        gone.cancel()
        await stays
        assert max(at for at, name in polls.seen if name == "gone 99") < 6.2

    run(crowd())


def test_a_wait_cancelled_during_its_poll_harms_no_other() -> None:
    async def crowd() -> None:
        scheduler = schedule(FakePolls(takes=3.0))
        gone = [
            asyncio.create_task(scheduler.poll_until_done(poller(name), None))
            for name in ("failed 0", "done 0", "x 99")
        ]
        stays = asyncio.create_task(scheduler.poll_until_done(poller("done 5"), None))
        await asyncio.sleep(2)
        for each in gone:
            each.cancel()
        assert (await stays).request_id == "done 5"

    run(crowd())


@pytest.mark.parametrize(("after", "at_once"), [(0.0, 0), (0.5, 0), (1.5, 2)], ids=["at once", "early", "meanwhile"])
def test_closing_ends_polls_and_waits(after: float, at_once: int) -> None:
    async def crowd() -> None:
        polls = FakePolls(takes=2.0)
        scheduler = schedule(polls, workers=2)
        waits = [asyncio.create_task(scheduler.poll_until_done(poller("never 999"), None)) for _ in range(5)]
        await asyncio.sleep(after)
        assert polls.at_once == at_once
        await scheduler.aclose()
        assert polls.at_once == 0
        done = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), timeout=1)
        assert all(isinstance(each, asyncio.CancelledError) for each in done)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(crowd())


def test_polls_run_in_an_empty_context() -> None:
    """Airflow sorts what triggers log by a context variable."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen = set()

    async def poll_once(poller: JobPoller, model: str | None) -> GenerationResult | float:
        seen.add(whose.get())
        return GenerationResult("r", (Image("https://images.segmind.com/cat.png"),))

    async def crowd() -> None:
        loop = asyncio.get_running_loop()
        scheduler = PollScheduler(poll_once, workers=2, clock=loop.time, sleep=asyncio.sleep)
        whose.set("a trigger's")
        await scheduler.poll_until_done(JobPoller("r", submitted_at=0.0, deadline=9.0), None)

    run(crowd())
    assert seen == {"nobody's"}
