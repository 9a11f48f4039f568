"""What the service says when it refuses, and when it says to come back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentBlockedError,
    InsufficientCreditsError,
    JobExpiredError,
    JobFailedError,
    JobRejectedError,
    KandinskyError,
    MethodNotAllowedError,
    ModelNotFoundError,
    ModelRetiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.wire.error_mapping import (
    Purpose,
    Response,
    error_from_failed_job,
    error_from_status,
    error_text,
)
from airflow_provider_kandinsky.segmind.wire.values import integer_in, number_in, parse_moment, retry_after_from

from ..timezones import in_zone

MakeResponse = Callable[..., Response]
Reported = tuple[type[KandinskyError], str]
FAILURES: dict[type[JobFailedError], str] = {
    ContentBlockedError: "The service blocked this content",
    JobRejectedError: "The job failed because of its parameters",
    JobFailedError: "The job failed",
}
KEYS = ("error", "error_description", "detail", "message", "html-message")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it broke", "it broke"),
        ({"message": "it broke"}, "it broke"),
        ({"code": 7, "error": {"detail": "it broke"}}, "it broke"),
        (["it broke", "badly"], "it broke; badly"),
        ([None, "it broke", ""], "it broke"),
        ([{"loc": ["body", "samples"], "msg": "it broke"}], "it broke"),
        (404, "404"),
    ],
    ids=str,
)
def test_the_text_is_found_under_any_key_in_any_form(
    make_response: MakeResponse, key: str, value: Any, text: str
) -> None:
    assert error_text(make_response({"noise": "x", key: value})) == text


@pytest.mark.parametrize(("better", "worse"), list(pairwise(KEYS)))
def test_the_first_key_that_says_something_wins(make_response: MakeResponse, better: str, worse: str) -> None:
    assert error_text(make_response({worse: "second", better: "first"})) == "first"
    for nothing in (None, "", [], {}, {"code": 5}, [""]):
        assert error_text(make_response({worse: "second", better: nothing})) == "second"


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
        (b"<HTML><TITLE>504</TITLE><h1>Sorry</h1>", "an HTML page, '504'"),
        (b"<title>\n504\n</title>", "an HTML page, '504'"),
        (b"  <p>broken", "an HTML page"),
        (b"<h1 class='x'>Method Not Allowed</h1>", "an HTML page, 'Method Not Allowed'"),
        (b"<html><body>broken", "an HTML page"),
        (b"\xff\xfe\xfa", "\ufffd\ufffd\ufffd"),
    ],
    ids=repr,
)
def test_bodies_without_an_error_key_are_quoted(make_response: MakeResponse, body: Any, text: str) -> None:
    assert error_text(make_response(body)) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "x" * 9000}, "x" * 500),
        (b"y" * 9000, "y" * 500),
        (b"<title>" + b"z" * 4000 + b"</title>", f"an HTML page, '{'z' * 200}'"),
    ],
    ids=["JSON", "text", "HTML"],
)
def test_long_texts_are_cut(make_response: MakeResponse, body: Any, text: str) -> None:
    assert error_text(make_response(body)) == text


def in_objects(value: Any, depth: int) -> Any:
    return value if depth == 0 else {"error": in_objects(value, depth - 1)}


def in_lists(value: Any, depth: int) -> Any:
    return value if depth == 0 else [in_lists(value, depth - 1)]


@pytest.mark.parametrize(("depth", "text"), [(8, "it broke"), (9, "no reason given")])
def test_a_text_is_found_down_to_a_depth(make_response: MakeResponse, depth: int, text: str) -> None:
    assert error_text(make_response(in_objects("it broke", depth))) == text
    assert error_text(make_response(in_lists("it broke", depth))) == text


PAGE = b"<title>Bad Gateway</title>"
REDIRECT = "The service responded with a redirect, which is not followed; check the connection's host"
EXPIRED = "The service has no record of this request; records are kept for one hour after submission"
#: Status, body, and what they are to a submission, to a poll of a job, and to a question about the account, where that
#: differs from a poll of a job.
MEANINGS: list[tuple[int, Any, Reported, Reported, Reported | None]] = [
    *(
        (status, {"error": "x"}, reported, reported, None)
        for status, reported in {
            300: (ConfigurationError, REDIRECT),
            302: (ConfigurationError, REDIRECT),
            399: (ConfigurationError, REDIRECT),
            400: (BadRequestError, "The service rejected the request: x"),
            401: (AuthenticationError, "The service rejected the API key: x"),
            402: (InsufficientCreditsError, "Insufficient credits: x"),
            403: (PermissionDeniedError, "The API key has no permission for this model: x"),
            405: (
                MethodNotAllowedError,
                "The URL does not accept this method; check the connection's host and the model: x",
            ),
            406: (InsufficientCreditsError, "Insufficient credits: x"),
            407: (BadRequestError, "The service rejected the request: x"),
            409: (BadRequestError, "The service rejected the request: x"),
            410: (ModelRetiredError, "The model is retired; set another one as `model`: x"),
            418: (BadRequestError, "The service rejected the request: x"),
            429: (RateLimitedError, "Rate limited: x"),
            499: (BadRequestError, "The service rejected the request: x"),
        }.items()
    ),
    (
        404,
        {"error": "x"},
        (ModelNotFoundError, "The service has no such model: x"),
        (JobExpiredError, EXPIRED),
        (ConfigurationError, "The service has no such endpoint; check the connection's host: x"),
    ),
    (
        406,
        {"error": "samples must be 8"},
        (BadRequestError, "The service rejected the request: samples must be 8"),
        (BadRequestError, "The service rejected the request: samples must be 8"),
        None,
    ),
    *(
        (
            status,
            PAGE,
            (
                SubmissionUnknownError,
                "The service failed while accepting the job: an HTML page, 'Bad Gateway'. It may have been accepted",
            ),
            (ServiceUnavailableError, "The service is unavailable: an HTML page, 'Bad Gateway'"),
            None,
        )
        for status in (408, 500, 501, 599)
    ),
]


@pytest.mark.parametrize(
    ("status", "body", "on_submit", "on_job", "on_account"), MEANINGS, ids=[str(status) for status, *_ in MEANINGS]
)
def test_each_refusal_tells_what_happened_and_what_it_may_cost(
    make_response: MakeResponse,
    status: int,
    body: Any,
    on_submit: Reported,
    on_job: Reported,
    on_account: Reported | None,
) -> None:
    refused = make_response(body, status)
    for purpose, request_id, (error_type, message) in (
        (Purpose.SUBMIT, None, on_submit),
        (Purpose.JOB, "r-1", on_job),
        (Purpose.ACCOUNT, None, on_account or on_job),
    ):
        error = error_from_status(refused, purpose, request_id)
        assert (type(error), error.message) == (error_type, message)
        assert (error.http_status, error.request_id) == (status, request_id)
        billed = error_type is SubmissionUnknownError or purpose is Purpose.JOB
        assert error.billing == ("maybe" if billed else "no")


def test_a_limit_tells_how_long_to_wait(make_response: MakeResponse) -> None:
    error = error_from_status(
        make_response({}, 429, {"x-rate-limit-reset-at-utc": "1700000012"}, 1_700_000_000.0), Purpose.SUBMIT
    )
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 12.0


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
def test_failures_are_distinguished_by_their_text(
    make_response: MakeResponse, text: str, error_type: type[JobFailedError]
) -> None:
    error = error_from_failed_job(make_response({"status": "FAILED", "error": text}, 422), "r")
    assert type(error) is error_type
    assert error.retryable == (error_type is JobFailedError)
    assert error.message == f"{FAILURES[error_type]}: {text or 'no reason given'}"
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
def test_406_is_distinguished_by_its_text(
    make_response: MakeResponse, text: str, error_type: type[KandinskyError]
) -> None:
    assert type(error_from_status(make_response({"error": text}, 406), Purpose.SUBMIT)) is error_type


def test_an_empty_account_is_not_a_bad_request(make_response: MakeResponse) -> None:
    text = "Insufficient credits: your balance must be at least $0.02"
    assert type(error_from_status(make_response({"error": text}, 406), Purpose.SUBMIT)) is InsufficientCreditsError


def test_a_mishap_of_the_worker_is_no_fault_of_the_parameters(make_response: MakeResponse) -> None:
    assert (
        type(error_from_failed_job(make_response({"status": "FAILED", "error": "list index out of range"}, 422), "r"))
        is JobFailedError
    )


@pytest.mark.parametrize(
    ("value", "number", "integer"),
    [
        (7, 7.0, 7),
        ("7", 7.0, 7),
        (" 7 ", 7.0, 7),
        ("-1", -1.0, -1),
        (7.5, 7.5, None),
        ("7.5", 7.5, None),
        (str(2**53 + 1), float(2**53), 2**53 + 1),
        (10**300, 1e300, None),
        (2**64 - 1, float(2**64), 2**64 - 1),
        (-(2**63), -float(2**63), -(2**63)),
        *(
            (value, None, None)
            for value in (True, False, None, "", "much", "nan", "inf", "1e999", 10**400, [7], {"a": 7}, b"7")
        ),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_numbers_are_read_from_number_and_text(value: Any, number: float | None, integer: int | None) -> None:
    assert (number_in(value), integer_in(value)) == (number, integer)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (0, 0.0),
        (1e11, 1e11),
        (100_000_000_001, 100_000_000.001),
        (" 2023-11-14T22:13:20Z ", 1_700_000_000.0),
        (None, None),
        (True, None),
        ([1_700_000_000], None),
    ],
    ids=repr,
)
def test_a_moment_is_read_from_seconds_milliseconds_and_text(value: Any, moment: float | None) -> None:
    found = parse_moment(value)
    assert (found and found.seconds) == moment


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
    assert retry_after_from(headers, NOW) == wait


@pytest.mark.parametrize("text", ["2023-11-14 22:13:50", "Tue, 14 Nov 2023 22:13:50 -0000"])
@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_a_time_that_names_no_zone_is_utc_wherever_this_machine_is(zone: str, text: str) -> None:
    with in_zone(zone):
        assert retry_after_from({RESET: text}, NOW) == 30.0


@pytest.mark.parametrize(
    "text", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"]
)
def test_a_date_beyond_all_calendars_is_garbage(text: str) -> None:
    assert retry_after_from({RESET: text}, NOW) is None


def test_a_deeply_nested_body_is_no_trap(make_response: MakeResponse) -> None:
    assert error_text(make_response(b"[" * 450 + b"]" * 450)) == "no reason given"
