"""Whatever the service sends: a result or an error of the tree, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    JobTimeoutError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.models import CATALOGUE
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus, TextToImageRequest
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller
from airflow_provider_kandinsky.segmind.wire import jobs
from airflow_provider_kandinsky.segmind.wire.history import read_history, read_past_request
from airflow_provider_kandinsky.segmind.wire.response import Response
from airflow_provider_kandinsky.segmind.wire.values import retry_after_from

from ..support.examples import examples

KEYS = (
    "status", "request_id", "error", "detail", "message", "html-message", "output", "images", "url", "b64_json",
    "seed", "metrics", "timings", "cost", "inference_time", "credits", "free-credits", "data", "model_created",
    "request_body", "generation_url", "credits_deduction", "model_status", "model_name",
)  # fmt: skip
VALUES = (
    "COMPLETED", "FAILED", "QUEUED", "No credits found for the user", "2023-11-14T22:13:20Z", "NaN", "1e999",
    "9" * 400, "https://i/1.png", "data:image/png;base64,iVBORw0KGgo=", "iVBORw0KGgo=", "[", '{"url": "https://i/2"}',
)  # fmt: skip
WORDS = st.sampled_from(KEYS + VALUES)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=9)
    | st.sampled_from([10**400, -(10**18), "\ud800"])
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6),
    max_leaves=20,
)
BODIES = st.dictionaries(WORDS, JSON, max_size=8)
CONTENT = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | BODIES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20).map(lambda rest: b"\x89PNG\r\n\x1a\n" + rest)
    | st.text(max_size=30).map(lambda title: f"<html><title>{title}</title>".encode())
)
MOMENTS = (
    st.text(max_size=30) | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str)
    | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
)  # fmt: skip
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "x-rate-limit-reset-at-utc", "location"]), MOMENTS)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 404, 406, 422, 429, 500, 502]) | st.integers(100, 599)
RESPONSES = st.builds(Response, STATUSES, HEADERS, CONTENT, st.floats(0, 4e9))

READERS: dict[str, tuple[Callable[[Response], Any], type | tuple[type, ...]]] = {
    "submission": (jobs.read_submission, Job),
    "status": (partial(jobs.read_status, request_id="r"), JobStatus),
    "result": (partial(jobs.read_result, request_id="r", model="m"), GenerationResult),
    "generation": (partial(jobs.read_generation, model="m"), GenerationResult),
    "credits": (jobs.read_credits, Credits),
    "history": (read_history, list),
    "past request": (read_past_request, (object,)),
}


@pytest.mark.parametrize(("read", "gives"), READERS.values(), ids=READERS)
@settings(max_examples=examples(150))
@given(response=RESPONSES)
def test_a_response_is_a_result_or_an_error_of_the_tree(
    read: Callable[[Response], Any], gives: type | tuple[type, ...], response: Response
) -> None:
    try:
        given_back = read(response)
    except KandinskyError as error:
        given_back = error
    if isinstance(given_back, KandinskyError):
        assert str(given_back)
        assert json.dumps(given_back.to_dict())
        return
    assert isinstance(given_back, gives)
    if isinstance(given_back, GenerationResult):
        assert given_back.images
        assert json.dumps(given_back.to_dict())
        assert GenerationResult.from_dict(given_back.to_dict()).urls == given_back.urls


@settings(max_examples=examples(150))
@given(headers=HEADERS, now=st.floats(0, 4e9))
def test_an_advised_wait_is_none_or_a_time_to_come(headers: dict[str, str], now: float) -> None:
    wait = retry_after_from(headers, now)
    assert wait is None or 0 <= wait < float("inf")


POLLS = (
    st.sampled_from([JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.UNKNOWN, ServiceUnavailableError("502")])
    | st.builds(RateLimitedError, st.just("429"), retry_after=st.none() | st.floats(0, 1e300))
)  # fmt: skip


@given(
    polls=st.lists(POLLS, max_size=60),
    age=st.floats(-100, 10_000),
    left=st.floats(-100, 2_000),
    interval=st.none() | st.floats(0.1, 1_000),
    rng=st.randoms(use_true_random=False),
)
def test_no_pause_is_negative_or_ends_after_the_deadline_unless_nothing_is_known_at_it(
    polls: list[Any], age: float, left: float, interval: float | None, rng: Any
) -> None:
    now = 1_700_000_000.0
    deadline = now + left
    submitted_at = now - age
    job = JobPoller("r", submitted_at=submitted_at, deadline=deadline, poll_interval=interval, rng=rng.random)
    pause, end = job.start(now), deadline
    for poll in polls:
        assert 0 <= pause <= max(0.0, end - now)
        now += pause
        try:
            pause = job.on_error(poll, now) if isinstance(poll, KandinskyError) else job.on_status(poll, now)
        except JobTimeoutError:
            assert now >= deadline
            return
        if now >= deadline:
            assert isinstance(poll, KandinskyError), "a response ends the wait"
            end = submitted_at + RECORD_LIFETIME
            assert now < end


def or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
KNOWN = CATALOGUE[DEFAULT_MODEL].parameters
REQUESTS = st.fixed_dictionaries(
    {"prompt": TEXT.filter(str.strip)},
    optional={
        "negative_prompt": or_none(TEXT),
        "scheduler": or_none(st.sampled_from(KNOWN["scheduler"].choices)),
        "samples": or_none(st.integers(1, 8)),
        "num_inference_steps": or_none(st.integers(10, 40)),
        "guidance_scale": or_none(st.floats(allow_nan=False, allow_infinity=False)),
        "seed": or_none(st.integers(-1, 2**64 - 1)),
        "img_width": or_none(st.sampled_from(KNOWN["img_width"].choices)),
        "img_height": or_none(st.sampled_from(KNOWN["img_width"].choices)),
        "base64": or_none(st.booleans()),
    },
)


@given(parameters=REQUESTS)
def test_what_is_allowed_is_sent_as_it_was_given(parameters: dict[str, Any]) -> None:
    payload = TextToImageRequest(**parameters).payload()
    assert payload == {name: value for name, value in parameters.items() if value is not None}
    # Templates render everything but the structure into text.
    rendered = {name: str(value) for name, value in payload.items()}
    assert TextToImageRequest(**rendered).payload() == payload


@settings(max_examples=examples(150))
@given(parameters=st.dictionaries(st.sampled_from([*TextToImageRequest.model_fields, "width"]), LEAVES | JSON))
def test_any_parameters_are_a_request_or_a_refusal(parameters: dict[str, Any]) -> None:
    try:
        payload = TextToImageRequest(**parameters).payload()
    except BadRequestError:
        return
    assert payload["prompt"].strip()
    assert 1 <= payload.get("samples", 1) <= 8
    assert 10 <= payload.get("num_inference_steps", 10) <= 40
    assert payload.get("seed", -1) >= -1
    assert {payload.get("img_width", 512), payload.get("img_height", 512)} <= set(KNOWN["img_width"].choices)
