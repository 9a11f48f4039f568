"""What a plan's limit yields: images a minute, and what each costs of the limit.

``python -m benchmarks.plan [way …]`` prints a table and writes JSON; with ways named (of ``WAYS``, or airflow) it
only prints. Sixty jobs of 2 to 6 s are asked for together, on a plan of 60 requests a minute. Submissions, polls and
results count; calls to the request history do not. This package's client submits and waits for all in one event loop
and is given the plan's limit. The vendor's SDK has a thread for each job, and a loop around its calls that waits after
a 429.

Time runs from the first submission's arrival at the sandbox until the last result is in the caller's hands. Images a
minute are all images over that time, with the burst that the plan allows and with the end, where only the last jobs are
waited for. The sandbox's limit is a fixed window per key: 60 requests may come when it opens, and the next 60 a minute
later. This client spreads its requests and has no use of the burst; the first 60 submissions of the SDK all pass in the
first second. Keyed requests are all that were sent to the API, refused ones included.

Each way has a fresh sandbox, in another process. The last row is a hundred mapped tasks in a real Airflow with its
default configuration, on a plan of 120 and with nothing set in the connection; its time is the run's.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import segmind

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from benchmarks.airflow import DEFAULTS, GENERATIONS, warm_airflow
from benchmarks.plain import MODEL
from benchmarks.table import publish
from benchmarks.triggers import sandbox_in_another_process

JOBS: Final = 60
LATENCY: Final = (2.0, 6.0)
REQUESTS_PER_MINUTE: Final = 60
#: Seconds in which a job has to end: far more than any way takes for all.
TIMEOUT: Final = 1_800.0
#: The plan of the hundred tasks in an Airflow.
AIRFLOW_PLAN: Final = 120
HISTORY_LAG: Final = 10.0
#: Seconds that the loop around the SDK waits after its first 429 in a row, and at most.
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 30.0

T = TypeVar("T")
Images = list[str]


async def images_of_client(sandbox: Sandbox, *, has_history: bool) -> Images:
    """Submit all jobs through one client and wait for them, as a user of the client would."""
    client = await AsyncSegmindClient.create(
        sandbox.api_key,
        sandbox.url,
        history_url=sandbox.history_url if has_history else "",
        requests_per_minute=REQUESTS_PER_MINUTE,
    )

    async def generate(number: int) -> Images:
        request = TextToImageRequest(prompt=f"cat {number}", seed=number)
        job = await client.submit(request, MODEL)
        now = time.time()
        times = {"submitted_at": now, "deadline": now + TIMEOUT}
        result = await client.poll_until_done(job.request_id, MODEL, **times, samples=1)
        return [image.url for image in result.images if image.url is not None]

    async with client:
        return [url for urls in await asyncio.gather(*map(generate, range(JOBS))) for url in urls]


def images_of_sdk(sandbox: Sandbox) -> Images:
    """Submit and wait for each job in a thread of its own."""
    client = segmind.SegmindClient(api_key=sandbox.api_key, base_url=f"{sandbox.url}/v1")

    def generate(number: int) -> str:
        job = _patiently(lambda: client.submit_async(MODEL, prompt=f"cat {number}", seed=number))
        url: str = _patiently(lambda: job.wait(timeout=TIMEOUT))["output"]
        return url

    with client._client, ThreadPoolExecutor(JOBS) as threads:
        return list(threads.map(generate, range(JOBS)))


def _patiently(call: Callable[[], T]) -> T:
    """Call until there is no 429. Its errors do not have the time of the reset, so each wait is twice the last one."""
    wait = FIRST_WAIT
    while True:
        try:
            return call()
        except segmind.SegmindError as error:
            if error.status != 429:
                raise
        time.sleep(wait * random.uniform(0.5, 1))
        wait = min(2 * wait, LONGEST_WAIT)


Way = Callable[[Sandbox], Images]


def _client(sandbox: Sandbox, *, has_history: bool) -> Images:
    return asyncio.run(images_of_client(sandbox, has_history=has_history))


#: By a short name: the row's name, how far the history is behind, and the way.
WAYS: Final[dict[str, tuple[str, float, Way]]] = {
    "history": ("this client, with a history", 0.0, partial(_client, has_history=True)),
    "late": (f"this client, history {HISTORY_LAG:.0f} s behind", HISTORY_LAG, partial(_client, has_history=True)),
    "polls": ("this client, without a history", 0.0, partial(_client, has_history=False)),
    "sdk": ("the vendor's SDK in threads", 0.0, images_of_sdk),
}

IN_AIRFLOW: Final = f"{GENERATIONS} mapped tasks in Airflow, a plan of {AIRFLOW_PLAN}"


def run_way(name: str) -> dict[str, Any]:
    """One way, against a fresh sandbox."""
    row_name, history_lag, way = WAYS[name]
    print(f"{row_name}, {JOBS} jobs ...", file=sys.stderr, flush=True)
    with sandbox_in_another_process() as sandbox:
        sandbox.configure(latency=LATENCY, requests_per_minute=REQUESTS_PER_MINUTE, history_lag=history_lag)
        images = way(sandbox)
        seconds = time.time() - min(call["at"] for call in sandbox.calls("submit"))
        assert len(set(images)) == len(sandbox.submissions) == JOBS, "a job was lost, or paid for twice"
        return _row(sandbox, JOBS, seconds)


def run_airflow() -> dict[str, Any]:
    """A hundred mapped tasks in a real Airflow."""
    print(f"{IN_AIRFLOW} ...", file=sys.stderr, flush=True)
    with warm_airflow(DEFAULTS, latency=LATENCY, requests_per_minute=AIRFLOW_PLAN) as (airflow, sandbox):
        run_id = airflow.trigger_dag("kandinsky")
        assert airflow.wait_for_run("kandinsky", run_id, TIMEOUT) == "success"
        run = airflow.api("GET", f"/dags/kandinsky/dagRuns/{run_id}")
        ended_at, began_at = (datetime.fromisoformat(run[key]) for key in ("end_date", "start_date"))
        assert len(sandbox.submissions) == GENERATIONS, "a job was paid for twice"
        return _row(sandbox, GENERATIONS, (ended_at - began_at).total_seconds())


def _row(sandbox: Sandbox, images: int, seconds: float) -> dict[str, Any]:
    return {
        "time to the end, s": round(seconds, 1),
        "images a minute": round(60 * images / seconds, 1),
        "keyed requests an image": round(sandbox.count_calls("api") / images, 2),
        "history calls": sandbox.count_calls("history"),
        "refused (429)": sandbox.count_calls("api", status=429),
    }


def main(names: list[str]) -> None:
    """Print the table, and write it as JSON if it has all rows."""
    rows = {WAYS[name][0]: run_way(name) for name in names or WAYS if name != "airflow"}
    if not names or "airflow" in names:
        rows[IN_AIRFLOW] = run_airflow()
    if names:
        print(*rows.items(), sep="\n")
    else:
        publish("plan", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
