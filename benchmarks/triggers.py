"""Thousands of jobs waited for in one event loop: this package's trigger beside a plain one with a client of its own.

``python -m benchmarks.triggers [jobs …]`` prints a table and writes JSON. Each way runs in a process of its own
against the sandbox in another, on jobs that all take the same time; the numbers of one table come from one run on
one machine, and mean something in relation to each other only.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger

LATENCY = 30.0
PLAIN_INTERVAL = 5.0
WAYS = ("kandinsky", "plain")
RESULTS = Path(__file__).with_name("results")


async def wait_plainly(url: str, key: str, request_id: str) -> float:
    """What a trigger does that was written in five minutes: a client of its own, a fixed interval."""
    async with httpx.AsyncClient(headers={"x-api-key": key}) as client:
        while True:
            response = await client.get(f"{url}/v2/requests/{request_id}/status")
            if response.json()["status"] == "COMPLETED":
                await client.get(f"{url}/v2/requests/{request_id}")
                return time.time()
            await asyncio.sleep(PLAIN_INTERVAL)


async def wait_with_trigger(request_id: str, submitted_at: float) -> float:
    trigger = KandinskyJobTrigger(request_id, submitted_at=submitted_at, deadline=submitted_at + 600)
    async for event in trigger.run():
        assert "result" in event.payload, event.payload
    return time.time()


class LoopLag:
    """How late the event loop comes back to what asked for 5 ms."""

    def __init__(self) -> None:
        self.lags: list[float] = []

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            self.lags.append(loop.time() - due)


async def measure(way: str, sandbox: Sandbox) -> dict[str, Any]:
    """Wait for all jobs of the sandbox and tell what it took."""
    jobs = sandbox.submissions
    process, lag = psutil.Process(), LoopLag()
    before_memory, before_cpu = process.memory_info().rss, time.process_time()
    watching = asyncio.create_task(lag.watch())
    waits = [
        asyncio.create_task(
            wait_with_trigger(job["request_id"], job["at"])
            if way == "kandinsky"
            else wait_plainly(sandbox.url, sandbox.api_key, job["request_id"])
        )
        for job in jobs
    ]
    await asyncio.sleep(LATENCY / 2)
    connections = sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))
    noticed = await asyncio.gather(*waits)
    watching.cancel()
    late = sorted(seen - job["at"] - LATENCY for seen, job in zip(noticed, jobs, strict=True))
    lags = sorted(lag.lags)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "cpu_s": round(time.process_time() - before_cpu, 2),
        "worst_lag_s": round(lags[-1], 4),
        "p99_lag_s": round(lags[int(len(lags) * 0.99)], 4),
        "memory_mb": round((peak - before_memory) / 2**20, 1),
        "connections": connections,
        "polls": sandbox.count_calls("status"),
        "p50_notice_s": round(statistics.median(late), 2),
        "p95_notice_s": round(late[int(len(late) * 0.95)], 2),
        "noticed": len(noticed),
    }


async def submit(sandbox: Sandbox, jobs: int) -> None:
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(
        headers={"x-api-key": sandbox.api_key}, limits=limits, timeout=httpx.Timeout(60, pool=None)
    ) as client:
        url = f"{sandbox.url}/v2/kandinsky2.1-txt2im"
        await asyncio.gather(*(client.post(url, json={"prompt": f"cat {number}"}) for number in range(jobs)))


def run_way(way: str, jobs: int) -> dict[str, Any]:
    """One way, in a fresh process, against a fresh sandbox in another."""
    command = [sys.executable, "-m", "airflow_provider_kandinsky.sandbox", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http")).rstrip(",.;")
            with Sandbox(url) as sandbox:
                sandbox.configure(credits=1_000_000)
                asyncio.run(submit(sandbox, jobs))
                env = os.environ | {"AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection()}
                child = [sys.executable, "-m", "benchmarks.triggers", "--child", way, url]
                output = subprocess.check_output(child, env=env, text=True)
        finally:
            server.terminate()
    row: dict[str, Any] = json.loads(output.splitlines()[-1])
    return row


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--child"]:
        with Sandbox(arguments[2]) as sandbox:
            print(json.dumps(asyncio.run(measure(arguments[1], sandbox))))
        return
    rows = {
        f"{way}, {jobs} jobs": run_way(way, jobs) for jobs in map(int, arguments or ["100", "1000"]) for way in WAYS
    }
    columns = list(next(iter(rows.values())))
    print(f"{'':<22}" + "".join(f"{column:>14}" for column in columns))
    for name, row in rows.items():
        print(f"{name:<22}" + "".join(f"{row[column]:>14}" for column in columns))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "triggers.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
