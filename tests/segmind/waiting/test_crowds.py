"""Hundreds of jobs at one client: how soon each is noticed, and what that costs in requests."""

from __future__ import annotations

import asyncio
import math
import random
from itertools import count
from statistics import median
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, MAX_REQUESTS_IN_FLIGHT
from airflow_provider_kandinsky.segmind.errors import RateLimitedError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.rate_limit import SUBMIT_RESUME_DELAY, SUBMIT_RESUME_SPREAD
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from ..virtual_time import Service, run


async def generate(client: AsyncSegmindClient, service: Service, number: int, **wait: Any) -> tuple[float, float]:
    """Submit a job and wait for it.

    :return: how long it took, and how long its completion went unnoticed, in seconds.
    """
    job = await client.submit(TextToImageRequest(prompt=f"cat {number}"), DEFAULT_MODEL)
    submitted_at = service.clock()
    result = await client.poll_until_done(
        job.request_id, DEFAULT_MODEL, submitted_at=submitted_at, deadline=submitted_at + 3600, **wait
    )
    assert result.total_time is not None
    return result.total_time, service.clock() - submitted_at - result.total_time


@pytest.mark.heavy  # hundreds of jobs
@pytest.mark.parametrize("latency", [(2.0, 6.0), 30.0])
def test_a_known_limit_is_kept_and_no_job_is_forgotten(latency: Any) -> None:
    async def crowd() -> None:
        service = Service(requests_per_minute=600, latency=latency)
        async with service.client(requests_per_minute=600) as client:
            await asyncio.gather(*(generate(client, service, number) for number in range(200)))
        assert service.count(429) == 0
        assert service.most_under_way <= MAX_REQUESTS_IN_FLIGHT
        # And not by being slow: at the limit, submissions and results alone take a quarter of this.
        assert service.exchanges[-1].at - service.exchanges[0].at < 4 * 200 * 2 / 10

    run(crowd())


@pytest.mark.heavy  # hundreds of jobs
@pytest.mark.parametrize("reset", ["epoch", "iso"])
def test_an_unknown_limit_is_learned_once_and_no_job_starves(reset: str) -> None:
    async def crowd() -> None:
        service = Service(requests_per_minute=600, rate_reset=reset, latency=(20.0, 40.0))
        async with service.client() as client:
            waits = await asyncio.gather(*(generate(client, service, number) for number in range(200)))
        unnoticed = sorted(late for _, late in waits)
        assert 0 < service.count(429) < 0.05 * len(service.exchanges)
        assert service.count(429) <= MAX_REQUESTS_IN_FLIGHT, "those that were under way, and none after them"
        assert unnoticed[-1] <= 3 * median(unnoticed)

    run(crowd())


def test_a_learned_limit_grows_until_the_next_429() -> None:
    async def crowd() -> None:
        service = Service(requests_per_minute=120, latency=100.0)
        async with service.client() as client:
            await asyncio.gather(*(generate(client, service, number) for number in range(120)))
        first = min(each.at for each in service.exchanges if each.status == 429)
        at_once = sum(each.status == 429 and each.at < first + 5 for each in service.exchanges)
        assert at_once <= MAX_REQUESTS_IN_FLIGHT, "those that were under way"
        minutes = (service.exchanges[-1].at - first) / 60
        assert service.count(429) - at_once <= 2 * minutes, "the limit is raised a bit every minute, and met again"

    run(crowd())


def test_quick_jobs_cost_no_more_polls_than_one_a_second() -> None:
    async def stream() -> None:
        service = Service(latency=(2.0, 6.0), travel=0.005)
        async with service.client() as client:
            waiting = []
            for number in range(100):
                waiting.append(asyncio.create_task(generate(client, service, number)))
                await asyncio.sleep(0.2)
            waits = await asyncio.gather(*waiting)
        assert median(late for _, late in waits) < 0.7
        # The vendor's client polls at once, and then every second.
        assert service.polls <= sum(math.ceil(took) + 1 for took, _ in waits)

    run(stream())


@pytest.mark.heavy  # hundreds of jobs
def test_a_restart_with_hundreds_of_jobs_spreads_their_polls() -> None:
    async def restart() -> None:
        service = Service(latency=30.0)
        async with service.client() as client:
            requests = [TextToImageRequest(prompt=f"cat {number}") for number in range(400)]
            jobs = await asyncio.gather(*map(client.submit, requests))
        service.exchanges.clear()
        started_at = service.clock() + 20
        await asyncio.sleep(20)
        async with service.client() as client:
            waits = [
                client.poll_until_done(job.request_id, submitted_at=started_at - 20, deadline=started_at + 600)
                for job in jobs
            ]
            assert len(await asyncio.gather(*waits)) == len(jobs)
        in_first_second = sum(each.at < started_at + 1 for each in service.exchanges)
        assert 20 < in_first_second < 160
        assert service.most_under_way <= MAX_REQUESTS_IN_FLIGHT
        assert not service.doubled

    run(restart())


def test_a_submission_does_not_wait_behind_all_polls() -> None:
    async def queue() -> None:
        service = Service(requests_per_minute=60, latency=300.0)
        async with service.client(requests_per_minute=60) as client:
            first = [asyncio.create_task(generate(client, service, number)) for number in range(30)]
            await asyncio.sleep(150)  # all are submitted, and wait to be polled
            before = service.clock()
            await client.submit(TextToImageRequest(prompt="urgent"))
            assert service.clock() - before < 3
            await asyncio.gather(*first)

    run(queue())


class Submitter:
    """A worker that submits one job after another, each in a process of its own or all in one, and comes back after
    a reset as a deferred task does."""

    def __init__(self, service: Service, *, new_process: bool, **settings: Any) -> None:
        self._service, self._new_process, self._settings = service, new_process, settings

    async def work(self) -> None:
        client = self._service.client(**self._settings)
        for number in count():
            if self._new_process:
                await asyncio.sleep(random.uniform(1, 2))
                client = self._service.client(**self._settings)
            try:
                await client.submit(TextToImageRequest(prompt=f"cat {number}"))
            except RateLimitedError as error:
                wait = (error.retry_after or 60) + SUBMIT_RESUME_DELAY
                await asyncio.sleep(wait + random.uniform(0, SUBMIT_RESUME_SPREAD))


@pytest.mark.heavy  # minutes of requests by ten clients
@pytest.mark.parametrize("new_process", [True, False], ids=["a process a task", "one process"])
@pytest.mark.parametrize("is_configured", [True, False], ids=["limit known", "not known"])
@pytest.mark.parametrize(
    ("in_flight", "waiting", "submitting", "longest"), [(100, 140, 15, 300), (30, 90, 60, 75)], ids=["100", "30"]
)
def test_on_one_plan_polls_do_not_starve_beside_submissions_nor_these_beside_them(
    new_process: bool, is_configured: bool, in_flight: int, waiting: int, submitting: int, longest: float
) -> None:
    """60 a minute, jobs that are finished one after another in 4 minutes, and 8 workers that submit all the time. When
    the clients knew nothing of each other, these took 231 of 240 requests, and 9 were left for polls. To poll a job
    and to fetch it are two requests at least, so 100 jobs are more than the plan has, and 30 are not."""

    async def share() -> None:
        service = Service(latency=(10.0, 230.0))
        async with service.client() as client:
            requests = [TextToImageRequest(prompt=f"cat {number}") for number in range(in_flight)]
            jobs = await asyncio.gather(*map(client.submit, requests))
        service.exchanges.clear()
        service.configure(requests_per_minute=60)
        settings: dict[str, Any] = {"requests_per_minute": 60} if is_configured else {}
        began = service.clock()
        unnoticed: list[float] = []

        async def wait(request_id: str) -> None:
            result = await client.poll_until_done(request_id, DEFAULT_MODEL, submitted_at=began, deadline=began + 3600)
            unnoticed.append(service.clock() - began - (result.total_time or 0))

        async with service.client(**settings) as client:
            waits = asyncio.gather(*(wait(job.request_id) for job in jobs))
            workers = [
                asyncio.create_task(Submitter(service, new_process=new_process, **settings).work()) for _ in range(8)
            ]
            await asyncio.sleep(240)
            passed = [each for each in service.exchanges if each.status != 429]
            submitted = sum(each.path == f"/v2/{DEFAULT_MODEL}" for each in passed)
            assert len(passed) - submitted >= waiting
            assert submitted >= submitting
            await waits
            assert max(unnoticed) < longest
        for worker in workers:
            worker.cancel()

    run(share())
