"""Many jobs watched by sweeps over the request history: what that saves, and what a wrong history cannot do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.errors import InvalidResponseError, JobFailedError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus, TextToImageRequest
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.waiting.scheduler import PollScheduler
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest

from ...support.examples import examples
from ..virtual_time import T0, Service, run

HISTORY = "http://localhost/inference-request/request-history"
NOTHING = object()


async def generate(client: AsyncSegmindClient, service: Service, prompt: str, **given: Any) -> GenerationResult:
    request = TextToImageRequest(prompt=prompt, **given)
    job = await client.submit(request, DEFAULT_MODEL)
    now = service.clock()
    return await client.poll_until_done(
        job.request_id, DEFAULT_MODEL, submitted_at=now, deadline=now + 900, samples=request.samples or 1
    )


async def generate_all(
    service: Service, prompts: list[str], client: Mapping[str, Any] | None = None, **given: Any
) -> list[Any]:
    async with service.client(history_url=HISTORY, **(client or {})) as opened:
        jobs = (generate(opened, service, prompt, **given) for prompt in prompts)
        return await asyncio.gather(*jobs, return_exceptions=True)


def keyed(service: Service) -> int:
    return sum("history" not in each.path for each in service.exchanges)


@pytest.mark.parametrize(("lag", "a_minute"), [(0.0, 45), (10.0, 40)])
def test_a_plan_goes_into_submissions(lag: float, a_minute: float) -> None:
    async def crowd() -> None:
        service = Service(requests_per_minute=60, latency=(2.0, 6.0), history_lag=lag)
        results = await generate_all(service, [f"cat {number}" for number in range(60)], {"requests_per_minute": 60})
        assert {len(result.images) for result in results} == {1}
        assert len({result.images for result in results}) == 60
        assert 60 / (service.clock() - T0) * 60 >= a_minute
        assert keyed(service) <= 1.15 * 60
        assert service.count(429) == 0

    run(crowd())


def test_what_a_row_does_not_tell_is_fetched_where_there_is_room() -> None:
    async def few_and_many() -> None:
        service = Service(latency=3.0)
        few = await generate_all(service, ["a cat", "a dog"], seed=-1)
        assert all(result.inference_time is not None and result.seed is not None for result in few)
        assert service.polls == 0
        many = await generate_all(Service(latency=3.0), [f"cat {number}" for number in range(60)])
        assert {result.inference_time for result in many} == {None}
        assert {result.cost for result in many} == {few[0].cost}

    run(few_and_many())


def test_one_job_alone_is_polled() -> None:
    async def one() -> None:
        service = Service(latency=3.0)
        await generate_all(service, ["a cat"])
        assert not [each for each in service.exchanges if "history" in each.path]

    run(one())


def test_slow_jobs_are_not_polled_between_two_sweeps() -> None:
    async def slow() -> None:
        service = Service(latency=600.0)
        await generate_all(service, [f"cat {number}" for number in range(50)])
        # Every 5 minutes, because the list may be wrong.
        assert service.polls <= 2 * 50
        assert service.clock() - T0 <= 600 + 15 + 1

    run(slow())


def test_a_new_job_beside_old_ones_is_swept_for_soon() -> None:
    async def some() -> None:
        service = Service(latency=500.0)
        async with service.client(history_url=HISTORY) as client:
            old = [asyncio.create_task(generate(client, service, f"cat {number}")) for number in range(5)]
            await asyncio.sleep(270.0)
            service.configure(latency=8.0)
            polls, submitted_at = service.polls, service.clock()
            await generate(client, service, "a dog")
            assert service.polls == polls
            assert service.clock() - submitted_at <= 8.0 + 2 + 1
            for each in old:
                each.cancel()

    run(some())


def test_all_images_of_a_job_are_waited_for() -> None:
    async def some() -> None:
        service = Service(latency=(2.0, 6.0))
        results = await generate_all(service, [f"cat {number}" for number in range(40)], samples=4)
        assert {len(result.images) for result in results} == {4}
        assert service.polls == 0

    run(some())


def test_a_failure_is_the_services_own() -> None:
    async def fail() -> None:
        service = Service(latency=3.0)
        found = await generate_all(service, ["a cat", "a [blocked] dog"])
        assert isinstance(found[0], GenerationResult)
        assert isinstance(found[1], JobFailedError)
        assert found[1].request_id is not None
        assert service.polls == 1, "to confirm it"

    run(fail())


class Unwell(Service):
    """A service whose history gives one response, for a while."""

    def __init__(self, response: Any, until: float = 1e9, **given: Any) -> None:
        super().__init__(**given)
        self.response = response
        self.until = until
        self.asked_at: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        at = self.clock() - T0
        if "history" not in request.url.path or at > self.until:
            return await super().handle_async_request(request)
        self.asked_at.append(at)
        if self.response is NOTHING:
            await asyncio.sleep(3600)
        return httpx.Response(**self.response)


@pytest.mark.parametrize(
    "response",
    [
        {"status_code": 500, "json": {"error": "broken"}},
        {"status_code": 429, "json": {"error": "limited"}},
        {"status_code": 429, "headers": {"retry-after": "3600"}},
        {"status_code": 401, "json": {"error": "this key is not for the history"}},
        {"status_code": 404, "html": "<h1>Not Found</h1>"},
        {"status_code": 200, "html": "<h1>Sign in</h1>"},
        {"status_code": 200, "json": {"rows": {"a": 1}}},
        {"status_code": 200, "json": {"rows": ["a", "b"]}},
        NOTHING,
    ],
)
def test_without_a_usable_history_all_goes_on_by_polls(response: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def crowd() -> None:
        service = Unwell(response, latency=(20.0, 40.0))
        results = await generate_all(service, [f"cat {number}" for number in range(8)])
        assert all(isinstance(result, GenerationResult) for result in results)
        assert service.clock() - T0 < 50
        assert len(service.asked_at) <= 2, "it is left alone for a while"

    with caplog.at_level(logging.WARNING):
        run(crowd())
    assert [record.message for record in caplog.records if "request history cannot be used" in record.message]
    assert len(caplog.records) == 1


def test_a_history_that_recovers_is_used_again() -> None:
    async def crowd() -> None:
        service = Unwell({"status_code": 503}, until=20.0, latency=120.0)
        await generate_all(service, [f"cat {number}" for number in range(8)])
        assert len(service.asked_at) == 1
        assert any("history" in each.path for each in service.exchanges)
        assert not [each for each in service.exchanges if each.at > T0 + 40 and each.path.endswith("/status")]

    run(crowd())


def test_a_list_of_others_leaves_the_jobs_to_polls() -> None:
    async def crowd() -> None:
        rows = [
            {"request_id": f"other-{number}", "model_status": "COMPLETED", "model_name": DEFAULT_MODEL}
            for number in range(PAGE_SIZE)
        ]
        service = Unwell({"status_code": 200, "json": rows}, latency=(10.0, 20.0))
        results = await generate_all(service, [f"cat {number}" for number in range(10)])
        assert all(isinstance(result, GenerationResult) for result in results)
        assert service.clock() - T0 < 40
        pages_a_sweep = 2 + 2
        assert len(service.asked_at) <= pages_a_sweep * (1 + 40 / 2)

    run(crowd())


@dataclass(frozen=True)
class Truth:
    """What really becomes of a job."""

    request_id: str
    samples: int
    ends_at: float
    fails: bool

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(
            Image(f"https://images.segmind.com/{self.request_id}-{index}.png") for index in range(self.samples)
        )

    def row(self, now: float) -> PastRequest:
        """As an honest history has it."""
        status, images = JobStatus.PROCESSING, ()
        if now >= self.ends_at:
            status, images = (JobStatus.FAILED, ()) if self.fails else (JobStatus.COMPLETED, self.images)
        return PastRequest(self.request_id, DEFAULT_MODEL, status, {"prompt": "a cat"}, images, T0, 0.01)


def changed(row: PastRequest, how: str) -> list[PastRequest]:
    """What a history may make of a row; never the images of another job under this one's id."""
    other = {
        "as it is": row,
        "absent": None,
        "in flight": ("status", JobStatus.PROCESSING),
        "unknown": ("status", JobStatus.UNKNOWN),
        "failed": ("status", JobStatus.FAILED),
        "completed": ("status", JobStatus.COMPLETED),
        "half": ("images", row.images[: len(row.images) // 2]),
        "no images": ("images", ()),
        "as bytes": ("images", (Image(data=b"\x89PNG"),) * len(row.images)),
        "another model": ("model", "kandinsky2.1-txt2im-lora"),
        "without a model": ("model", ""),
        "ancient": ("created_at", T0 - 1e6),
        "of the future": ("created_at", T0 + 1e6),
        "dateless": ("created_at", None),
        "foreign": ("request_id", "r-foreign"),
        "nameless": ("request_id", ""),
    }[how]
    if not isinstance(other, tuple):
        return [] if other is None else [row]
    name, value = other
    return [replace(row, **{name: value})]


HOW = st.sampled_from([
    "as it is", "absent", "in flight", "unknown", "failed", "completed", "half", "no images", "as bytes",
    "another model", "without a model", "ancient", "of the future", "dateless", "foreign", "nameless",
])  # fmt: skip
TRUTHS = st.lists(st.tuples(st.integers(1, 3), st.floats(1, 60), st.booleans()), min_size=2, max_size=4)


@settings(max_examples=examples(1_000))
@given(truths=TRUTHS, data=st.data())
def test_a_wrong_history_never_gives_a_wrong_image(truths: list[tuple[int, float, bool]], data: st.DataObject) -> None:
    jobs = [Truth(f"r-{n}", samples, T0 + ends, fails) for n, (samples, ends, fails) in enumerate(truths)]
    by_id = {job.request_id: job for job in jobs}
    # One sweep after another; the last is repeated.
    sweeps = data.draw(
        st.lists(st.one_of(st.none(), st.lists(HOW, min_size=len(jobs), max_size=len(jobs))), max_size=8)
    )
    lag = data.draw(st.floats(0, 30))

    async def wait_for_all() -> list[Any]:
        loop = asyncio.get_running_loop()
        read = iter(sweeps)
        kept: list[list[str] | None] = [["as it is"] * len(jobs)]

        def clock() -> float:
            return T0 + loop.time()

        async def read_page(model: str, since: float, page: int) -> list[PastRequest]:
            await asyncio.sleep(0.05)
            if page == 1:
                kept[0] = next(read, kept[0])
            if kept[0] is None:
                raise ServiceUnavailableError("The history is down")
            ways = zip(jobs, kept[0], strict=True)
            return [row for job, how in ways for row in changed(job.row(clock() - lag), how)]

        async def poll_once(poller: JobPoller, model: str | None) -> GenerationResult | float:
            await asyncio.sleep(0.05)
            job, now = by_id[poller.request_id], clock()
            is_over = now >= job.ends_at
            if is_over and job.fails:
                raise JobFailedError("it failed", request_id=job.request_id)
            if poller.completed and not is_over:
                return poller.on_error(InvalidResponseError("not finished"), now)
            if not poller.completed:
                status = JobStatus.COMPLETED if is_over else JobStatus.PROCESSING
                pause = poller.on_status(status, now)
                if not poller.completed:
                    return pause
            return poller.on_result(GenerationResult(job.request_id, job.images, model))

        scheduler = PollScheduler(poll_once, workers=2, read_page=read_page, clock=clock, sleep=asyncio.sleep)
        waits = (
            scheduler.poll_until_done(
                JobPoller(job.request_id, submitted_at=T0, deadline=T0 + 900), DEFAULT_MODEL, job.samples
            )
            for job in jobs
        )
        found = await asyncio.gather(*waits, return_exceptions=True)
        await scheduler.aclose()
        assert clock() < T0 + 60 + 320, "a list that lies about all does not hold a job up for much longer"
        return found

    for job, found in zip(jobs, run(wait_for_all()), strict=True):
        if job.fails:
            assert isinstance(found, JobFailedError)
        else:
            assert isinstance(found, GenerationResult), found
            assert found.request_id == job.request_id
            assert found.images == job.images
