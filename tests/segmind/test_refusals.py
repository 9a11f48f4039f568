"""What the service says when it refuses, and when it says to come back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    ContentBlockedError,
    InsufficientCreditsError,
    JobFailedError,
    JobRejectedError,
    KandinskyError,
)
from airflow_provider_kandinsky.segmind.refusals import Answer, Purpose, advised_wait, error_text, failure, refusal

MakeAnswer = Callable[..., Answer]
KEYS = ("error", "error_description", "detail", "message", "html-message")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it broke", "it broke"),
        ({"message": "it broke"}, "it broke"),
        ({"code": 7, "error": {"detail": "it broke"}}, "it broke"),
        (["it broke", "badly"], "it broke; badly"),
        ([{"loc": ["body", "samples"], "msg": "it broke"}], "it broke"),
        (404, "404"),
    ],
    ids=str,
)
def test_the_text_is_found_under_any_key_in_any_form(answer: MakeAnswer, key: str, value: Any, text: str) -> None:
    assert error_text(answer({"noise": "x", key: value})) == text


@pytest.mark.parametrize(("better", "worse"), list(pairwise(KEYS)))
def test_the_first_key_that_says_something_wins(answer: MakeAnswer, better: str, worse: str) -> None:
    assert error_text(answer({worse: "second", better: "first"})) == "first"
    for nothing in (None, "", [], {}, {"code": 5}, [""]):
        assert error_text(answer({worse: "second", better: nothing})) == "second"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "an empty body"),
        (b" \n", "an empty body"),
        ({}, "no reason given"),
        ({"code": 5}, "no reason given"),
        ("just text in JSON", "just text in JSON"),
        (b"upstream timed out", "upstream timed out"),
        (b"<html><head><title>504 Gateway\nTime-out</title>", "an HTML page, '504 Gateway Time-out'"),
        (b"<h1 class='x'>Method Not Allowed</h1>", "an HTML page, 'Method Not Allowed'"),
        (b"<html><body>broken", "an HTML page"),
        (b"\xff\xfe\xfa", "\ufffd\ufffd\ufffd"),
    ],
    ids=repr,
)
def test_bodies_without_a_key_are_told_as_they_are(answer: MakeAnswer, body: Any, text: str) -> None:
    assert error_text(answer(body)) == text


@pytest.mark.parametrize("body", [{"error": "x" * 9000}, b"y" * 9000, b"<title>" + b"z" * 9000 + b"</title>"])
def test_long_texts_are_cut(answer: MakeAnswer, body: Any) -> None:
    assert 200 <= len(error_text(answer(body))) <= 520


@pytest.mark.parametrize(
    ("text", "error_type"),
    [
        ("NSFW content detected", ContentBlockedError),
        ("The prompt was blocked by our content policy", ContentBlockedError),
        ("Request rejected by safety checker", ContentBlockedError),
        ("flagged by moderation", ContentBlockedError),
        ("This prompt contains prohibited words", ContentBlockedError),
        ("Invalid value for samples: expected an integer from 1 to 8", JobRejectedError),
        ("num_inference_steps must be between 10 and 40", JobRejectedError),
        ("img_width: 777 is not one of 512, 1024", JobRejectedError),
        ("CUDA out of memory", JobFailedError),
        ("Inference failed: the worker ran into an internal error", JobFailedError),
        ("", JobFailedError),
    ],
)
def test_failures_are_told_apart_by_their_text(answer: MakeAnswer, text: str, error_type: type[JobFailedError]) -> None:
    error = failure(answer({"status": "FAILED", "error": text}, 422), "r")
    assert type(error) is error_type
    assert error.retryable == (error_type is JobFailedError)
    assert text in error.message
    assert (error.http_status, error.request_id, error.billing) == (422, "r", "no")


@pytest.mark.parametrize(
    ("text", "error_type"),
    [
        ("insufficient credits", InsufficientCreditsError),
        ("Team spending limit reached", InsufficientCreditsError),
        ("", InsufficientCreditsError),
        ("Invalid value for scheduler", BadRequestError),
        ("Content-Type must be application/json", BadRequestError),
        ("samples: 9 is out of range", BadRequestError),
    ],
)
def test_406_is_told_apart_by_its_text(answer: MakeAnswer, text: str, error_type: type[KandinskyError]) -> None:
    assert type(refusal(answer({"error": text}, 406), Purpose.SUBMIT)) is error_type


def test_an_empty_account_is_not_a_bad_request(answer: MakeAnswer) -> None:
    text = "Insufficient credits: your balance must be at least $0.02"
    assert type(refusal(answer({"error": text}, 406), Purpose.SUBMIT)) is InsufficientCreditsError


def test_a_mishap_of_the_worker_is_no_fault_of_the_parameters(answer: MakeAnswer) -> None:
    assert type(failure(answer({"status": "FAILED", "error": "list index out of range"}, 422), "r")) is JobFailedError


NOW = 1_700_000_000.0  # 2023-11-14T22:13:20 UTC
RESET = "x-rate-limit-reset-at-utc"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({RESET: "1700000012"}, 12.0),
        ({RESET: "1700000012.5"}, 12.5),
        ({RESET: "1700000012500"}, 12.5),
        ({RESET: "2023-11-14T22:13:50Z"}, 30.0),
        ({RESET: "2023-11-14T22:13:50+00:00"}, 30.0),
        ({RESET: "2023-11-14T23:13:50+01:00"}, 30.0),
        ({RESET: "2023-11-14 22:13:50"}, 30.0),
        ({RESET: "2023-11-14T22:13:50.250000"}, 30.25),
        ({RESET: "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({RESET: "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({RESET: "1600000000"}, 0.0),
        ({RESET: "2020-01-01T00:00:00Z"}, 0.0),
        *(
            ({RESET: text}, None)
            for text in ("", "soon", "nan", "inf", "2023-13-45T99:99:99Z", "Tue, 99 Nov 2023", "{}")
        ),
        ({"retry-after": "7", RESET: "1700000012"}, 7.0),
        ({"retry-after": "soon", RESET: "1700000012"}, 12.0),
    ],
    ids=str,
)
def test_the_advised_wait_is_read_in_any_format(headers: dict[str, str], wait: float | None) -> None:
    assert advised_wait(headers, NOW) == wait


@pytest.mark.parametrize(
    "text", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"]
)
def test_a_date_beyond_all_calendars_is_garbage(text: str) -> None:
    assert advised_wait({RESET: text}, NOW) is None


def test_a_deeply_nested_body_is_no_trap(answer: MakeAnswer) -> None:
    assert error_text(answer(b"[" * 450 + b"]" * 450)) == "no reason given"
