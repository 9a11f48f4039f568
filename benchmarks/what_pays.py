"""What parts of the waiting are worth: the same jobs with each part and without it.

``python -m benchmarks.what_pays [part …]``; the parts are the keys of :data:`PARTS`. The sandbox and its clients run
in one event loop in virtual time, so lags and counts are exact and the same each time. CPU is real.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from statistics import mean, median, quantiles
from typing import Any, Final

import httpx

from airflow_provider_kandinsky.segmind.constants import MAX_REQUESTS_IN_FLIGHT
from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.rate_limit import RateLimiter
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, TextToImageRequest
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.triggers.stall_guard import StallGuard
from tests.segmind.virtual_time import T0, NoWaiting, Service, VirtualTimeLoop, run

Row = dict[str, Any]
Rows = dict[str, Row]


#: As the dice fall differently, the end of a run falls into another minute of the plan: rows are means over these.
SEEDS: Final = range(1, 8)


def _mean(make: Callable[[], Coroutine[Any, Any, Row]]) -> Row:
    """The means of runs with different dice."""

    async def seeded(seed: int) -> Row:
        random.seed(seed)
        return await make()

    found = [run(seeded(seed)) for seed in SEEDS]
    return {column: round(mean(row[column] for row in found), 1) for column in found[0]}


def _lags(lags: list[float]) -> Row:
    return {
        "half noticed within, s": round(median(lags), 2),
        "95 % within, s": round(quantiles(lags, n=20)[-1], 2),
        "last, s": round(max(lags), 1),
    }


async def _generate(client: AsyncSegmindClient, service: Service, number: int) -> float:
    """Seconds from the job's end until it is noticed."""
    job = await client.submit(TextToImageRequest(prompt=f"cat {number}"))
    return await _wait(client, service, job.request_id)


async def _wait(client: AsyncSegmindClient, service: Service, request_id: str) -> float:
    submitted_at = service.clock()
    result = await client.poll_until_done(request_id, submitted_at=submitted_at, deadline=submitted_at + 3600)
    return service.clock() - submitted_at - (result.total_time or 0.0)


class PauseOnly(RateLimiter):
    """A rate limiter that waits for the reset after a 429, and learns no limit from it."""

    def _set_limit(self, requests_per_minute: float | None, rate: float, burst: float | None = None) -> None:
        if burst is None or self._is_configured:
            super()._set_limit(requests_per_minute, rate, burst)


def learned_rate_limit() -> Rows:
    """A plan whose limit the connection does not say."""

    def client_of(service: Service, limiter: type[RateLimiter]) -> AsyncSegmindClient:
        client = service.client()
        client._sender.rate_limiter = limiter(at_once=MAX_REQUESTS_IN_FLIGHT, clock=service.clock)
        return client

    async def batch(limiter: type[RateLimiter], count: int, latency: Any, plan: float) -> Row:
        service = Service(latency=latency, requests_per_minute=plan)
        async with client_of(service, limiter) as client:
            lags = await asyncio.gather(*(_patient(client, service, number) for number in range(count)))
        return {
            "time to the end, s": round(service.exchanges[-1].at - service.exchanges[0].at),
            "requests": len(service.exchanges),
            "429s": service.count(429),
            **_lags(lags),
        }

    async def _patient(client: AsyncSegmindClient, service: Service, number: int) -> float:
        while True:
            try:
                return await _generate(client, service, number)
            except RateLimitedError as error:  # a submission is refused for 20 s; Airflow tries again
                await asyncio.sleep(error.retry_after or 30)

    async def mapped(limiter: type[RateLimiter], count: int, plan: float) -> Row:
        """Tasks in 8 worker slots that submit, each in a process of its own; one triggerer waits for their jobs."""
        service = Service(latency=(2.0, 6.0), requests_per_minute=plan)
        todo, refused = list(range(count)), 0
        lags: list[float] = []
        waits: list[asyncio.Task[None]] = []

        async def wait(client: AsyncSegmindClient, request_id: str) -> None:
            lags.append(await _wait(client, service, request_id))

        async def task(number: int) -> None:
            nonlocal refused
            try:
                job = await client_of(service, limiter).submit(TextToImageRequest(prompt=f"cat {number}"))
            except RateLimitedError as error:  # its next try comes by the retry policy
                refused += 1
                await asyncio.sleep((error.retry_after or 60) + random.uniform(5, 15))
                todo.append(number)
            else:
                waits.append(asyncio.create_task(wait(client, job.request_id)))

        async def slot() -> None:
            while len(lags) < count:
                await asyncio.sleep(random.uniform(1, 2))
                if todo:
                    await task(todo.pop(0))

        async with client_of(service, limiter) as client:
            await asyncio.gather(*(slot() for _ in range(8)))
        return {
            "time to the end, s": round(service.exchanges[-1].at - service.exchanges[0].at),
            "requests": len(service.exchanges),
            "429s": service.count(429),
            **_lags(lags),
            "refused tries": refused,
        }

    rows: Rows = {}
    batches: list[tuple[int, Any, float]] = [(100, (2.0, 6.0), 60), (120, 100.0, 120), (200, (20.0, 40.0), 600)]
    for count, latency, plan in batches:
        for limiter, way in ((RateLimiter, "learned"), (PauseOnly, "only paused")):
            name = f"{count} jobs of {latency} s in one process, plan of {plan} a minute, {way}"
            rows[name] = _mean(partial(batch, limiter, count, latency, plan))
    for count, plan in ((20, 60), (100, 60), (100, 120), (300, 120), (300, 600)):
        for limiter, way in ((RateLimiter, "learned"), (PauseOnly, "only paused")):
            rows[f"{count} mapped tasks, plan of {plan}, {way}"] = _mean(partial(mapped, limiter, count, plan))
    return rows


class _Turns(NoWaiting):
    """Virtual time that knows how much CPU each turn of the loop took."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[float] = []
        self._woke = time.process_time()

    def select(self, timeout: float | None = None) -> Any:
        self.turns.append(time.process_time() - self._woke)
        ready = super().select(timeout)
        self._woke = time.process_time()
        return ready


class CoroutineEach:
    """What the heap is in place of: each job sleeps and polls by itself."""

    def __init__(self, poll_once: Callable[..., Awaitable[Any]]) -> None:
        self._poll_once = poll_once

    async def poll_until_done(self, poller: JobPoller, model: str | None) -> GenerationResult:
        wait = poller.start(T0 + asyncio.get_running_loop().time())
        while True:
            await asyncio.sleep(wait)
            found = await self._poll_once(poller, model)
            if isinstance(found, GenerationResult):
                return found
            wait = found

    async def aclose(self) -> None:
        pass


class Answers(httpx.AsyncBaseTransport):
    """A service that costs next to nothing: its jobs end at one time."""

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self.polls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.05)
        is_done = asyncio.get_running_loop().time() >= self._ends_at
        if request.url.path.endswith("/status"):
            self.polls += 1
            return httpx.Response(200, json={"status": "COMPLETED" if is_done else "PROCESSING"})
        return httpx.Response(200, json={"status": "COMPLETED", "output": ["https://images.segmind.com/cat.png"]})


def heap_of_waiting_jobs() -> Rows:
    """Thousands of jobs of one client, all at one age, as a restarted triggerer has them."""

    async def wait_for(jobs: int, turns: _Turns, *, has_heap: bool) -> Row:
        loop = asyncio.get_running_loop()
        transport, notices = Answers(60.0), []
        async with AsyncSegmindClient(
            "key", "http://localhost", transport=transport, clock=lambda: T0 + loop.time()
        ) as client:
            if not has_heap:
                client._poll_scheduler = CoroutineEach(client._poll_once)  # type: ignore[assignment]  # the same methods

            async def one(number: int) -> None:
                await client.poll_until_done(f"r-{number}", submitted_at=T0, deadline=T0 + 3600)
                notices.append(loop.time() - 60.0)

            gc.collect()
            turns.turns.clear()
            began = time.process_time()
            await asyncio.gather(*(one(number) for number in range(jobs)))
            cpu = time.process_time() - began
            polls = transport.polls
        took = sorted(turns.turns)
        return {
            "polls": polls,
            "CPU, s": round(cpu, 2),
            "CPU a poll, ms": round(1000 * cpu / polls, 2),
            "longest turn, CPU s": round(took[-1], 3),
            "second longest, CPU s": round(took[-2], 3),
            "99.9 % of turns within, CPU ms": round(1000 * took[int(len(took) * 0.999)], 2),
            **_lags(notices),
        }

    rows = {}
    for jobs in (100, 1000, 5000, 10_000):
        for has_heap, way in ((True, "heap"), (False, "coroutine each")):
            random.seed(1)
            turns = _Turns()
            with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, turns)) as runner:
                rows[f"{jobs:,} jobs of 60 s, {way}"] = runner.run(wait_for(jobs, turns, has_heap=has_heap))
    return rows


def stall_guard() -> Rows:
    """A triggerer that stalls for a minute with 200 jobs, while another triggerer takes them over and delivers them.

    Airflow cancels the first one's triggers 2 s after it wakes.
    """

    async def stall(*, is_guarded: bool, has_other: bool) -> Row:
        loop, random_end = asyncio.get_running_loop(), random.Random(1).uniform
        guard = StallGuard(clock=loop.time)
        guard.start()
        delivered: list[float] = []

        async def trigger(ends_at: float) -> None:
            await asyncio.sleep(ends_at)
            if is_guarded:
                await guard.wait_for_reassignment()
            delivered.append(max(loop.time() - ends_at, 0.0))

        triggers = [asyncio.create_task(trigger(random_end(20, 120))) for _ in range(200)]
        await asyncio.sleep(40)
        before = len(delivered)
        assert isinstance(loop, VirtualTimeLoop)
        loop.stall(60)
        await asyncio.sleep(2)
        if has_other:
            for each in triggers:
                each.cancel()
        await asyncio.gather(*triggers, return_exceptions=True)
        lags = sorted(delivered[before:])
        return {
            "delivered a second time": len(lags) if has_other else 0,
            "half delivered within, s": "" if has_other else round(median(lags), 1),
            "last, s": "" if has_other else round(lags[-1], 1),
        }

    return {
        f"a minute's stall, {other}, {way}": run(stall(is_guarded=is_guarded, has_other=has_other))
        for other, has_other in (("another triggerer takes over", True), ("no other triggerer", False))
        for way, is_guarded in (("guarded", True), ("not guarded", False))
    }


PARTS: Final[Mapping[str, Callable[[], Rows]]] = {
    "rate_limit": learned_rate_limit,
    "heap": heap_of_waiting_jobs,
    "stall_guard": stall_guard,
}


def main(parts: list[str]) -> None:
    """Print a table for each part."""
    for part in parts or PARTS:
        rows = PARTS[part]()
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        print(f"\n| {part} |" + "".join(f" {column} |" for column in columns))
        print("|---" * (len(columns) + 1) + "|")
        for name, row in rows.items():
            print(f"| {name} |" + "".join(f" {row.get(column, '')} |" for column in columns), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
