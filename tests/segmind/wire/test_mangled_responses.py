"""A thousand mangled responses of every call: a right result or an error of the tree, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import (
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    parse_request_id,
)
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

from ...support.examples import examples
from .mangling import CALLS, GOOD, KEY, URL, mangled

Connect = Callable[..., Any]
ANSWERS = examples(1000)


def expect_storable(reported: Any) -> None:
    """It goes into a database and into JSON, and shows nothing that is secret."""
    text = json.dumps(reported, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")
    assert KEY not in text
    assert len(text) < 40_000


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except KandinskyError as error:
        return error


def expect_told(error: KandinskyError) -> None:
    expect_storable([str(error), error.to_dict()])
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def expect_right(name: str, found: Any) -> None:
    match found:
        case Job():
            assert parse_request_id(found.request_id) == found.request_id
        case GenerationResult():
            assert 1 <= len(found.images) <= 16
            assert all(url.lower().startswith("http") and len(url) <= 2048 for url in found.urls)
            expect_storable(found.to_dict())
            assert GenerationResult.from_dict(found.to_dict()).urls == found.urls
        case PastRequest():
            assert found.request_id == (parse_request_id(found.request_id) or "")
            assert len(found.images) <= 16
            assert found.cost is None or found.cost >= 0
            expect_storable([found.result().to_dict(), found.model, found.created_at, found.created_at_doubt])
            assert KEY not in repr(found)
        case list():
            assert name == "history"
            for each in found:
                expect_right(name, each)
        case Credits():
            expect_storable([found.paid, found.free])
        case JobStatus() | None:
            assert name == ("status" if found else "past request")
        case _:
            raise AssertionError(f"{found!r} is no result")


@pytest.mark.parametrize("connect", ["blocking"], indirect=True)  # which has the async client within it
@pytest.mark.parametrize("name", CALLS)
def test_a_mangled_response_is_a_right_result_or_a_typed_error(
    connect: Connect, fake_time: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    rng = random.Random(f"mangled {name}")
    sent: list[httpx.Response] = []

    def respond(_: httpx.Request) -> httpx.Response:
        sent.append(mangled(rng, name))
        return sent[-1]

    client = connect(api_key=KEY, transport=httpx.MockTransport(respond), history_url="https://segmind.test/past")
    outcomes = {"right": 0, "error": 0}
    while len(sent) < ANSWERS:
        fake_time.pauses.clear()
        found = outcome_of(lambda: CALLS[name](client))
        if isinstance(found, KandinskyError):
            expect_told(found)
        else:
            expect_right(name, found)
        outcomes["error" if isinstance(found, KandinskyError) else "right"] += 1
    assert KEY not in caplog.text
    # Neither is rare, or nothing would have been tried.
    assert min(outcomes.values()) > ANSWERS // 20, outcomes


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_mangled_is_right(connect: Connect, name: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=GOOD[name]))
    found = CALLS[name](connect(api_key=KEY, transport=transport, history_url="https://segmind.test/past"))
    expect_right(name, found)
    assert found not in (None, [], JobStatus.UNKNOWN)
    if name in ("result", "generate"):
        assert (found.urls, found.cost, found.seed, found.inference_time) == ([URL], 0.01, 123, 13.06)
