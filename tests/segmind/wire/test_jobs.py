"""Responses of the service, and what they are read as."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    Billing,
    ConfigurationError,
    EmptyResultError,
    InvalidResponseError,
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    ModelNotFoundError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.schemas import Credits, Image, Job, JobStatus
from airflow_provider_kandinsky.segmind.wire import jobs
from airflow_provider_kandinsky.segmind.wire.response import Response

URL = "https://images.segmind.com/generations/1.jpeg"
DONE = {"status": "COMPLETED", "error": None, "output": URL}
HTML = b"<html><head><title>502 Bad\n Gateway</title></head></html>"
PNG = b"\x89PNG\r\n\x1a\n pixels"
NOT_JSON = {"HTML": HTML, "empty": b"", "cut off": b'{"status": "COMPL', "binary": b"\xff\xfe\x00"}
NOT_OBJECTS: dict[str, Any] = NOT_JSON | {"list": [DONE], "text": "COMPLETED", "null": b"null", "number": 1}
MakeResponse = Callable[..., Response]


def by_id(table: dict[str, Any]) -> Any:
    return [pytest.param(value, id=name) for name, value in table.items()]


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("body", "job"),
    [
        ({"request_id": "2c7f-11", "status": "QUEUED", "status_url": "https://evil/"}, Job("2c7f-11")),
        ({"request_id": "r1"}, Job("r1", JobStatus.UNKNOWN)),
        ({"request_id": " r/1 \n", "status": "processing"}, Job("r/1", JobStatus.PROCESSING)),
    ],
    ids=["documented", "id alone", "odd id"],
)
def test_a_submission_gives_its_job(make_response: MakeResponse, status: int, body: dict[str, Any], job: Job) -> None:
    assert jobs.read_submission(make_response(body, status)) == job


@pytest.mark.parametrize(
    "body",
    by_id(NOT_OBJECTS | {"no id": {"status": "QUEUED"}, "blank id": {"request_id": " "}, "number": {"request_id": 7}}),
)
def test_an_accepted_submission_without_id_may_be_running(make_response: MakeResponse, body: Any) -> None:
    with pytest.raises(SubmissionUnknownError) as caught:
        jobs.read_submission(make_response(body))
    error = caught.value
    assert (error.http_status, error.billing, error.retryable) == (200, Billing.MAYBE, False)
    assert error.message == (
        "The service accepted the request but its response has no usable request id; the job is probably running"
    )


def test_a_submission_that_failed_half_way_may_be_running(make_response: MakeResponse) -> None:
    with pytest.raises(SubmissionUnknownError, match="It may have been accepted"):
        jobs.read_submission(make_response({"request_id": "r", "error": "oops"}, 500))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "QUEUED", "request_id": "r", "metrics": {}}, JobStatus.QUEUED),
        ({"status": "PROCESSING"}, JobStatus.PROCESSING),
        ({"status": "COMPLETED", "metrics": {"inference_time": 13.06}}, JobStatus.COMPLETED),
        ({"status": "completed"}, JobStatus.COMPLETED),
        ({"status": "WARMING_UP"}, JobStatus.UNKNOWN),
        ({"status": None}, JobStatus.UNKNOWN),
        ({}, JobStatus.UNKNOWN),
    ],
    ids=lambda value: str(value),
)
def test_a_status_is_read(make_response: MakeResponse, body: dict[str, Any], status: JobStatus) -> None:
    assert jobs.read_status(make_response(body), "r") is status


def read_both(make_response: Response) -> list[Callable[[], Any]]:
    return [lambda: jobs.read_status(make_response, "r"), lambda: jobs.read_result(make_response, "r")]


@pytest.mark.parametrize("http_status", [200, 422])
@pytest.mark.parametrize("word", ["FAILED", "failed"])
def test_failed_is_failed_under_any_http_status(make_response: MakeResponse, http_status: int, word: str) -> None:
    for read in read_both(make_response({"status": word, "error": "the worker broke", "output": URL}, http_status)):
        with pytest.raises(JobFailedError, match="the worker broke") as caught:
            read()
        error = caught.value
        assert (error.http_status, error.request_id, error.billing) == (http_status, "r", Billing.NO)


@pytest.mark.parametrize("body", by_id(NOT_OBJECTS | {"unknown": {"status": "STOPPED"}, "no status": {"error": "x"}}))
def test_422_that_does_not_say_failed_is_no_failure(make_response: MakeResponse, body: Any) -> None:
    for read in read_both(make_response(body, 422)):
        with pytest.raises(InvalidResponseError, match="HTTP 422 without a status of FAILED: ") as caught:
            read()
        error = caught.value
        assert (error.retryable, error.billing, error.request_id, error.http_status) == (True, "maybe", "r", 422)


@pytest.mark.parametrize("body", by_id(NOT_OBJECTS))
def test_422_of_v1_that_does_not_say_failed_may_have_been_billed(make_response: MakeResponse, body: Any) -> None:
    """It may be the end of a job that has run for minutes."""
    with pytest.raises(SubmissionUnknownError, match="HTTP 422 without a status of FAILED: ") as caught:
        jobs.read_generation(make_response(body, 422), "m")
    assert (caught.value.billing, caught.value.http_status) == ("maybe", 422)


@pytest.mark.parametrize("body", by_id(NOT_OBJECTS))
def test_nonsense_under_200_is_no_response(make_response: MakeResponse, body: Any) -> None:
    for read in read_both(make_response(body)):
        with pytest.raises(InvalidResponseError) as caught:
            read()
        assert caught.value.retryable
        error = caught.value
        assert (error.request_id, error.billing, error.http_status) == ("r", Billing.MAYBE, 200)
        assert error.message.startswith("Not the API's JSON: ")


@pytest.mark.parametrize(
    ("status", "body", "error_type"),
    [
        (404, {"error": "no such request"}, JobExpiredError),
        (503, {"status": "FAILED", "error": "out of order"}, ServiceUnavailableError),
        (401, {"error": "bad key"}, AuthenticationError),
    ],
)
def test_a_rejected_poll_says_nothing_about_the_job(
    make_response: MakeResponse, status: int, body: Any, error_type: type[KandinskyError]
) -> None:
    for read in read_both(make_response(body, status)):
        with pytest.raises(KandinskyError) as caught:
            read()
        assert type(caught.value) is error_type
        assert (caught.value.request_id, caught.value.billing) == ("r", Billing.MAYBE)


def test_an_html_page_is_named_by_its_title(make_response: MakeResponse) -> None:
    with pytest.raises(InvalidResponseError, match="an HTML page, '502 Bad Gateway'"):
        jobs.read_status(make_response(HTML), "r")


def test_the_documented_result_is_read_whole(make_response: MakeResponse) -> None:
    metrics = {
        "cost": 0.0123, "remaining_credits": 9.5, "inference_time": 13.06, "queue_time": 0.5, "total_time": 13.6,
        "retry_count": 0,
    }  # fmt: skip
    images = [{"url": URL, "content_type": "image/jpeg", "file_name": "1.jpeg", "file_size": 5}]
    body = DONE | {"images": images, "seed": "9007199254740993", "prompt": "a cat", "timings": {}, "metrics": metrics}
    result = jobs.read_result(make_response(body), "r", "kandinsky2.1-txt2im")
    assert result.urls == [URL]
    assert (result.request_id, result.model, result.seed) == ("r", "kandinsky2.1-txt2im", 9007199254740993)
    assert (result.cost, result.inference_time, result.queue_time, result.total_time) == (0.0123, 13.06, 0.5, 13.6)
    assert result.metrics == metrics


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"metrics": None},
        {"metrics": []},
        {"metrics": {}, "timings": None, "seed": None},
        {"metrics": {"cost": None}},
    ]
    + [{"metrics": {"cost": cost}} for cost in ("free", True, [], {}, "NaN")],
    ids=str,
)
def test_what_is_missing_is_unknown_and_never_zero(make_response: MakeResponse, rest: dict[str, Any]) -> None:
    result = jobs.read_result(make_response(DONE | rest), "r")
    reported = (result.cost, result.inference_time, result.queue_time, result.total_time, result.seed, result.model)
    assert reported == (None,) * 6


@pytest.mark.parametrize(("cost", "read"), [(0, 0.0), ("0.02", 0.02), (1, 1.0)])
def test_a_cost_is_read(make_response: MakeResponse, cost: Any, read: float) -> None:
    assert jobs.read_result(make_response(DONE | {"metrics": {"cost": cost}}), "r").cost == read


def test_times_can_come_as_timings(make_response: MakeResponse) -> None:
    timings = {"inference_time": 3, "queue_time": 1, "total_time": "4"}
    result = jobs.read_result(make_response(DONE | {"timings": timings, "metrics": {"queue_time": 2}}), "r")
    assert (result.inference_time, result.queue_time, result.total_time) == (3.0, 2.0, 4.0)
    result = jobs.read_result(make_response(DONE | {"timings": timings}), "r")
    assert (result.inference_time, result.queue_time, result.total_time) == (3.0, 1.0, 4.0)


@pytest.mark.parametrize("seed", [5, "5", " 5 "])
def test_a_seed_is_read_from_number_and_text(make_response: MakeResponse, seed: Any) -> None:
    assert jobs.read_result(make_response(DONE | {"seed": seed}), "r").seed == 5


@pytest.mark.parametrize("word", ["QUEUED", "PROCESSING", "WARMING_UP", None])
def test_a_result_that_is_not_there_yet_is_waited_for(make_response: MakeResponse, word: str | None) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        jobs.read_result(make_response({"status": word, "output": URL}), "r")
    error = caught.value
    assert error.message == f"The result is not ready: the status in it is {word!r}"
    assert (error.request_id, error.http_status, error.billing, error.retryable) == ("r", 200, Billing.MAYBE, True)


def test_a_long_status_is_shortened(make_response: MakeResponse) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        jobs.read_result(make_response({"status": "W" * 200}), "r")
    assert caught.value.message == "The result is not ready: the status in it is '" + "W" * 79


def test_a_result_needs_no_status(make_response: MakeResponse) -> None:
    assert jobs.read_result(make_response({"output": URL}), "r").urls == [URL]


def test_completed_without_image_names_the_keys_that_came(make_response: MakeResponse) -> None:
    for body, keys in (
        ({"status": "COMPLETED", "seed": 3, "output": "done", "error": None}, "error, output, seed, status"),
        ({}, "none"),
    ):
        with pytest.raises(EmptyResultError) as caught:
            jobs.read_result(make_response(body), "r")
        error = caught.value
        assert error.message == (
            f"The job has finished, and is billed, but its result has no image; its keys are: {keys}"
        )
        facts = (error.request_id, error.http_status, error.billing, error.retryable)
        assert facts == ("r", 200, Billing.YES, False)


def test_images_come_before_output(make_response: MakeResponse) -> None:
    other = "https://images.segmind.com/generations/2.jpeg"
    assert jobs.read_result(make_response({"output": URL, "images": [{"url": other}]}), "r").urls == [other, URL]


def test_a_binary_image_of_v1_is_taken(make_response: MakeResponse) -> None:
    result = jobs.read_generation(make_response(PNG), "m")
    assert (result.images, result.model, result.request_id, result.cost) == ((Image(data=PNG),), "m", None, None)


def test_json_of_v1_is_taken(make_response: MakeResponse) -> None:
    result = jobs.read_generation(make_response({"images": [{"url": URL}]}), "m")
    assert (result.urls, result.model, result.request_id) == ([URL], "m", None)


@pytest.mark.parametrize("body", by_id(NOT_OBJECTS | {"queued": {"status": "QUEUED"}}))
def test_nonsense_of_v1_may_have_been_billed(make_response: MakeResponse, body: Any) -> None:
    with pytest.raises(SubmissionUnknownError) as caught:
        jobs.read_generation(make_response(body), "m")
    assert (caught.value.billing, caught.value.http_status, caught.value.request_id) == ("maybe", 200, None)
    assert caught.value.message.startswith(("Not the API's JSON: ", "The result is not ready: "))


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(500, SubmissionUnknownError), (401, AuthenticationError), (404, ModelNotFoundError)],
)
def test_an_image_is_not_taken_from_a_refusal_of_v1(
    make_response: MakeResponse, status: int, error_type: type[KandinskyError]
) -> None:
    with pytest.raises(KandinskyError) as caught:
        jobs.read_generation(make_response(PNG, status), "m")
    assert type(caught.value) is error_type


def test_a_result_of_v1_without_image_was_paid_for(make_response: MakeResponse) -> None:
    with pytest.raises(EmptyResultError) as caught:
        jobs.read_generation(make_response({"status": "COMPLETED"}), "m")
    assert (caught.value.request_id, caught.value.billing) == (None, Billing.YES)


@pytest.mark.parametrize("http_status", [200, 422])
def test_a_failure_of_v1_is_a_failure(make_response: MakeResponse, http_status: int) -> None:
    with pytest.raises(JobFailedError, match="broke"):
        jobs.read_generation(make_response({"status": "FAILED", "error": "broke"}, http_status), "m")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"credits": 0.0, "free-credits": 0.018}, Credits(0.0, 0.018)),
        ({"credits": "1.5"}, Credits(1.5, None)),
        ({"credits": 3, "free-credits": None}, Credits(3.0, None)),
    ],
    ids=str,
)
def test_credits_are_read(make_response: MakeResponse, body: dict[str, Any], left: Credits) -> None:
    assert jobs.read_credits(make_response(body)) == left


@pytest.mark.parametrize("key", ["error", "message", "detail"])
def test_no_record_of_credits_is_a_good_key(make_response: MakeResponse, key: str) -> None:
    assert jobs.read_credits(make_response({key: "No credits found for the user"}, 404)) == Credits(None)


@pytest.mark.parametrize("body", by_id(NOT_OBJECTS | {"no number": {"credits": "many"}, "bool": {"credits": True}}))
def test_credits_that_are_none_are_no_response(make_response: MakeResponse, body: Any) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        jobs.read_credits(make_response(body))
    assert caught.value.message == "The response to the credits call has no credits"
    assert (caught.value.http_status, caught.value.billing) == (200, Billing.NO)


def test_that_no_credits_were_found_is_taken_from_a_404_only(make_response: MakeResponse) -> None:
    with pytest.raises(ServiceUnavailableError):
        jobs.read_credits(make_response({"error": "No credits found for the user"}, 500))


def test_another_404_for_credits_is_a_wrong_host(make_response: MakeResponse) -> None:
    with pytest.raises(ConfigurationError, match="host"):
        jobs.read_credits(make_response({"error": "Not Found"}, 404))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_errors_of_the_connection(make_response: MakeResponse, status: int) -> None:
    moved = make_response(b"", status, {"location": "https://evil/"})
    for read in (*read_both(moved), lambda: jobs.read_submission(moved), lambda: jobs.read_credits(moved)):
        with pytest.raises(KandinskyError) as caught:
            read()
        assert type(caught.value) is ConfigurationError
