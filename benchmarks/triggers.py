"""Thousands of jobs waited for in one event loop: this package's trigger, a plain one, and the vendor's SDK in threads.

``python -m benchmarks.triggers [jobs …]`` prints a table and writes JSON. Each way runs in a process of its own
against a sandbox in another, on jobs that all take the same time; the numbers of one table come from one run on one
machine, and mean something in relation to each other only.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import psutil
import segmind

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger
from benchmarks.plain import MODEL, PlainTrigger
from benchmarks.table import publish

#: Seconds that a job takes, and until when at the latest all are there.
LATENCY = 30.0
TIMEOUT = 600.0
PLAIN_INTERVAL = 5.0
#: How many jobs each way is tried with at most. A plain trigger takes 20 ms of the loop and nearly a megabyte.
WAYS = {"kandinsky": 10_000, "plain trigger": 1_000, "vendor's SDK, threads": 200}
#: What they are called in the table.
NAMES = {
    "kandinsky": "this trigger",
    "plain trigger": "a plain trigger",
    "vendor's SDK, threads": "the vendor's SDK in threads",
}
JOBS = (100, 1_000, 5_000, 10_000)

Job = dict[str, Any]


async def noticed_by_triggers(way: str, jobs: Sequence[Job]) -> list[float]:
    """Run a trigger for each job, and note when each has fired."""

    def trigger(job: Job) -> Any:
        if way == "plain trigger":
            return PlainTrigger(job["request_id"], PLAIN_INTERVAL)
        # As the operator makes it.
        times = {"submitted_at": job["at"], "deadline": job["at"] + TIMEOUT}
        return KandinskyJobTrigger(job["request_id"], model=MODEL, samples=1, **times)

    async def fire(job: Job) -> float:
        async for event in trigger(job).run():
            assert "error" not in event.payload, event.payload
        return time.time()

    firing = []
    for job in jobs:
        firing.append(asyncio.create_task(fire(job)))
        await asyncio.sleep(0)  # as Airflow's triggerer does between two triggers
    return await asyncio.gather(*firing)


def noticed_by_threads(sandbox: Sandbox, jobs: Sequence[Job]) -> list[float]:
    """Wait for each job in a thread of its own, and note when each was there."""
    client = segmind.SegmindClient(api_key=sandbox.api_key, base_url=f"{sandbox.url}/v1")

    def wait(job: Job) -> float:
        request_id = job["request_id"]
        url = f"{sandbox.url}/v2/requests/{request_id}"
        segmind.AsyncJob(request_id, f"{url}/status", url, {}, client).wait(timeout=TIMEOUT)
        return time.time()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(wait, jobs))


@asynccontextmanager
async def loop_lags() -> AsyncIterator[list[float]]:
    """How late the event loop comes back to what asked for 5 ms, each time."""
    lags = [0.0]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            lags.append(loop.time() - due)

    watching = asyncio.create_task(watch())
    try:
        yield lags
    finally:
        watching.cancel()


@asynccontextmanager
async def collections() -> AsyncIterator[list[float]]:
    """How long each walk of the garbage collector has held up everything."""
    began, took = 0.0, [0.0]

    def note(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            took.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    try:
        yield took
    finally:
        gc.callbacks.remove(note)


async def measure(way: str, sandbox: Sandbox) -> dict[str, Any]:
    """Wait for all jobs of the sandbox, and report what it took."""
    jobs, process = sandbox.submissions, psutil.Process()
    # The collector's walks through all that Airflow has imported, a tenth of a second each, are no way's own.
    gc.collect()
    gc.freeze()
    memory, cpu = process.memory_info().rss, time.process_time()
    async with loop_lags() as lags, collections() as walks:
        if way in ("kandinsky", "plain trigger"):
            waiting = asyncio.create_task(noticed_by_triggers(way, jobs))
        else:
            waiting = asyncio.create_task(asyncio.to_thread(noticed_by_threads, sandbox, jobs))
        await asyncio.sleep(LATENCY / 2)
        connections = sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))
        noticed = await waiting
    late = sorted(seen - job["at"] - LATENCY for seen, job in zip(noticed, jobs, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "CPU, s": round(time.process_time() - cpu, 1),
        "worst lag, s": round(max(lags), 3),
        "longest garbage collection, s": round(max(walks), 3),
        "memory, MB": round((peak - memory) / 2**20),
        "TCP connections": connections,
        "polls": sandbox.count_calls("status"),
        "half noticed within, s": round(statistics.median(late), 1),
        "95 % within, s": round(statistics.quantiles(late, n=20)[-1], 1),
        "last, s": round(late[-1], 1),
    }


async def submit(sandbox: Sandbox, jobs: int) -> None:
    """Fill the sandbox with jobs."""
    # What waits inside httpx makes all others wait longer.
    places = asyncio.Semaphore(20)

    async def submit_one(client: httpx.AsyncClient, number: int) -> None:
        async with places:
            await client.post(f"/v2/{MODEL}", json={"prompt": f"cat {number}"})

    async with httpx.AsyncClient(
        base_url=sandbox.url,
        headers={"x-api-key": sandbox.api_key},
        timeout=60,
    ) as client:
        await asyncio.gather(*(submit_one(client, number) for number in range(jobs)))


@contextmanager
def sandbox_in_another_process() -> Iterator[Sandbox]:
    """A fresh sandbox that takes no time from the process that is measured."""
    command = [sys.executable, "-m", "airflow_provider_kandinsky.sandbox", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http")).rstrip(",.;")
            with Sandbox(url) as sandbox:
                sandbox.configure(credits=1_000_000)
                yield sandbox
        finally:
            server.terminate()


def run_way(way: str, jobs: int) -> dict[str, Any]:
    """One way, in a fresh process."""
    print(f"{way}, {jobs} jobs ...", file=sys.stderr, flush=True)
    with sandbox_in_another_process() as sandbox:
        asyncio.run(submit(sandbox, jobs))
        env = os.environ | {
            "AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(),
            "SEGMIND_API_KEY": sandbox.api_key,
            "SEGMIND_URL": sandbox.url,
        }
        child = [sys.executable, "-m", "benchmarks.triggers", "--child", way, sandbox.url]
        output = subprocess.check_output(child, env=env, text=True)
    row: dict[str, Any] = json.loads(output.splitlines()[-1])
    return row


def main(arguments: list[str]) -> None:
    """Print the table and write it as JSON."""
    if arguments[:1] == ["--child"]:
        with Sandbox(arguments[2]) as sandbox:
            print(json.dumps(asyncio.run(measure(arguments[1], sandbox))))
        return
    sizes = list(map(int, arguments)) or JOBS
    publish(
        "triggers",
        {f"{NAMES[way]}, {jobs:,}": run_way(way, jobs) for jobs in sizes for way, most in WAYS.items() if jobs <= most},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
