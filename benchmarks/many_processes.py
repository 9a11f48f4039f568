"""Eight processes that submit and two that wait for jobs, all on one plan of 60 requests a minute.

``python -m benchmarks.many_processes`` prints a table and writes JSON. As in an Airflow, each image is submitted by a
client that knows nothing of the others, and a submission that is refused for longer is deferred until the limit resets.
Each way has a sandbox of its own, and waits most of the time: so all run side by side.
"""

from __future__ import annotations

import asyncio
import heapq
import multiprocessing
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.client import SegmindClient
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.tasks.deferral import resume_delay
from benchmarks.table import publish
from benchmarks.triggers import sandbox_in_another_process

PLAN: Final = 60
IMAGES: Final = 40
#: Seconds that a job takes.
LATENCY: Final = (2.0, 6.0)
SUBMITTERS: Final = 8
WAITERS: Final = 2
#: Seconds until the wait for a job is given up, which fails the benchmark.
TIMEOUT: Final = 1800.0

_processes: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Way:
    """How the processes are set up.

    :param requests_per_minute: of the connection, and so of each process.
    :param pool_slots: of an Airflow pool that also counts deferred tasks; ``None`` for no pool.
    :param has_history: whether the connection has a ``history_url``.
    """

    requests_per_minute: float | None = None
    pool_slots: int | None = None
    has_history: bool = False


#: A triggerer's share of two thirds of the plan, and as many slots as a fifteenth of it.
RECIPE: Final = Way(PLAN * 2 / 3 / WAITERS, PLAN // 15)
#: With a history nearly all requests are submissions.
HISTORY_RECIPE: Final = Way(PLAN * 2 / 3 / WAITERS, PLAN // 10, has_history=True)


def submit_share(url: str, key: str, way: Way, numbers: list[int], ready: Any, pool: Any, jobs: Any) -> None:
    """The life of a worker slot: submit images one after another, each as a task of its own."""
    todo = [(0.0, number) for number in numbers]
    in_pool: set[int] = set()
    ready.wait()
    while todo:
        due_at, number = heapq.heappop(todo)
        time.sleep(max(0.0, due_at - time.time()))
        if pool is not None and number not in in_pool:
            pool.acquire()
            in_pool.add(number)
        time.sleep(random.uniform(0.5, 1.5))  # a task's process starts
        try:
            with SegmindClient(key, url, requests_per_minute=way.requests_per_minute) as client:
                job = client.submit(TextToImageRequest(prompt=f"cat {number}"))
        except RateLimitedError as error:
            heapq.heappush(todo, (time.time() + resume_delay(error), number))
        else:
            jobs.put(job.request_id)


async def _wait_for(client: AsyncSegmindClient, request_id: str) -> tuple[str, float]:
    """A job's id, and when it was seen, seconds since the epoch."""
    now = time.time()
    await client.poll_until_done(request_id, DEFAULT_MODEL, submitted_at=now, deadline=now + TIMEOUT, samples=1)
    return request_id, time.time()


def _client(url: str, key: str, way: Way) -> AsyncSegmindClient:
    history_url = Sandbox(url).history_url if way.has_history else None
    return AsyncSegmindClient(key, url, history_url=history_url, requests_per_minute=way.requests_per_minute)


def wait_for_jobs(url: str, key: str, way: Way, ready: Any, pool: Any, jobs: Any, seen: Any) -> None:
    """A triggerer: wait for all jobs that come, until ``None`` comes."""

    async def one(client: AsyncSegmindClient, request_id: str) -> None:
        seen.put(await _wait_for(client, request_id))
        if pool is not None:
            pool.release()

    async def triggerer() -> None:
        async with (
            _client(url, key, way) as client,
            asyncio.TaskGroup() as waits,
        ):
            while (request_id := await asyncio.to_thread(jobs.get)) is not None:
                waits.create_task(one(client, request_id))

    ready.wait()
    asyncio.run(triggerer())


def in_many_processes(sandbox: Sandbox, way: Way) -> list[tuple[str, float]]:
    """Generate all images in ten processes.

    :return: for each job its id, and when it was seen.
    """
    ready = _processes.Barrier(SUBMITTERS + WAITERS)
    pool = _processes.Semaphore(way.pool_slots) if way.pool_slots else None
    queues = [_processes.Queue() for _ in range(WAITERS)]
    seen: Any = _processes.Queue()
    shared = sandbox.url, sandbox.api_key, way
    submitters = [
        _processes.Process(
            target=submit_share,
            args=(*shared, list(range(slot, IMAGES, SUBMITTERS)), ready, pool, queues[slot % WAITERS]),
            daemon=True,
        )
        for slot in range(SUBMITTERS)
    ]
    waiters = [
        _processes.Process(target=wait_for_jobs, args=(*shared, ready, pool, jobs, seen), daemon=True)
        for jobs in queues
    ]
    for process in (*submitters, *waiters):
        process.start()
    found = [seen.get(timeout=TIMEOUT) for _ in range(IMAGES)]
    for jobs in queues:
        jobs.put(None)
    for process in (*submitters, *waiters):
        process.join()
    return found


def in_one_process(sandbox: Sandbox, way: Way) -> list[tuple[str, float]]:
    """Generate all images with one client, as a batch does."""

    async def one(client: AsyncSegmindClient, number: int) -> tuple[str, float]:
        job = await client.submit(TextToImageRequest(prompt=f"cat {number}"))
        return await _wait_for(client, job.request_id)

    async def all_images() -> list[tuple[str, float]]:
        async with _client(sandbox.url, sandbox.api_key, way) as client:
            return await asyncio.gather(*(one(client, number) for number in range(IMAGES)))

    return asyncio.run(all_images())


def measure(generate: Callable[[Sandbox], list[tuple[str, float]]]) -> dict[str, Any]:
    """Generate the images one way, and report what it took."""
    with sandbox_in_another_process() as sandbox:
        sandbox.configure(latency=LATENCY, requests_per_minute=PLAN)
        found = generate(sandbox)
        submitted_at = {job["request_id"]: job["at"] for job in sandbox.submissions}
        statuses = [call["status"] for call in sandbox.calls("api")]
        # The history does not say how long a job took.
        sandbox.configure(requests_per_minute=None)
        with SegmindClient(sandbox.api_key, sandbox.url) as client:
            took = {request_id: client.get_result(request_id).total_time or 0.0 for request_id in submitted_at}
    unseen = [seen_at - submitted_at[request_id] - took[request_id] for request_id, seen_at in found]
    seconds = max(seen_at for _, seen_at in found) - min(submitted_at.values())
    return {
        "images a minute": round(60 * IMAGES / seconds, 1),
        "requests an image": round(len(statuses) / IMAGES, 2),
        "refused, %": round(100 * statuses.count(429) / len(statuses), 1),
        "longest unseen, s": round(max(unseen), 1),
        "lost": len(submitted_at.keys() - {request_id for request_id, *_ in found}),
        "submissions": len(submitted_at),
    }


def main() -> None:
    """Measure all ways."""
    share = f"{RECIPE.requests_per_minute:g} a minute for each process"
    ways: dict[str, Callable[[Sandbox], list[tuple[str, float]]]] = {
        f"one process, {PLAN} a minute": partial(in_one_process, way=Way(PLAN)),
        "ten processes, nothing set": partial(in_many_processes, way=Way()),
        f"ten processes, {share}": partial(in_many_processes, way=Way(RECIPE.requests_per_minute)),
        f"ten processes, {share}, a pool of {RECIPE.pool_slots}": partial(in_many_processes, way=RECIPE),
        f"one process, {PLAN} a minute, history": partial(in_one_process, way=Way(PLAN, has_history=True)),
        f"ten processes, {share}, a pool of {HISTORY_RECIPE.pool_slots}, history": partial(
            in_many_processes, way=HISTORY_RECIPE
        ),
    }
    with ThreadPoolExecutor(len(ways)) as side_by_side:
        publish("many_processes", dict(zip(ways, side_by_side.map(measure, ways.values()), strict=True)))


if __name__ == "__main__":
    main()
