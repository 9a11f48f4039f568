"""Responses made to do harm: they cost little time and memory, and nothing but a typed error comes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    EmptyResultError,
    InvalidResponseError,
    KandinskyError,
    RateLimitedError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.schemas import Image, JobStatus, TextToImageRequest
from airflow_provider_kandinsky.segmind.wire import jobs
from airflow_provider_kandinsky.segmind.wire.history import read_history, read_past_request
from airflow_provider_kandinsky.segmind.wire.images import collect_images
from airflow_provider_kandinsky.segmind.wire.response import Response, error_text
from airflow_provider_kandinsky.segmind.wire.values import integer_in, parse_moment, retry_after_from

MakeResponse = Callable[..., Response]
URL = "https://images.segmind.com/1.jpeg"
KEY = "SG_f00dfeedc0ffee42"
A_CAT = TextToImageRequest(prompt="a cat", seed=7)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


@pytest.mark.parametrize(
    "page", [b"<h1>" * 16_000, b"<title" * 10_000, b"<h1 " * 250_000, b"<title>" + b"x" * 2**20], ids=range(4)
)
def test_an_error_page_takes_no_time(make_response: MakeResponse, page: bytes) -> None:
    with within(5):
        assert len(error_text(make_response(page, 502))) <= 500


def test_of_an_error_page_the_beginning_is_read(make_response: MakeResponse) -> None:
    for blanks, title in ((4_000, "an HTML page, 'late'"), (4_090, "an HTML page")):
        page = b"<p>" + b" " * blanks + b"<title>late</title>"
        assert error_text(make_response(page, 502)) == title
    assert len(make_response(b"x" * 10**6, 502).beginning()) == 4096


def test_an_error_of_many_parts_takes_no_time(make_response: MakeResponse) -> None:
    with within(5):
        assert len(error_text(make_response({"error": ["x" * 100] * 150_000}, 502))) == 500


@pytest.mark.parametrize(
    "body",
    [b"[" + b"{}," * 10_000_000 + b"{}]", b"[" * 10_000_000, b'{"a":' * 1_000_000, b"[" + b"1" * 5_000 + b"]"],
    ids=["wide", "deep lists", "deep objects", "long number"],
)
def test_a_body_that_would_fill_the_memory_is_not_read(make_response: MakeResponse, body: bytes) -> None:
    with within(5):
        for read in (lambda each: jobs.read_result(each, "r"), read_history, read_past_request, jobs.read_credits):
            with pytest.raises(InvalidResponseError):
                read(make_response(body))


def test_children_are_walked_once() -> None:
    value: Any = ["no image"] * 20_000
    for _ in range(6):
        value = {"data": value}
    with within(5):
        assert collect_images(value) == ()


def test_a_text_of_blanks_is_not_taken_apart() -> None:
    text = "ab " * 5_000_000
    with within(5):
        assert collect_images(text) == ()


@pytest.mark.parametrize("wrap", [list, lambda urls: dict(enumerate(urls)), json.dumps], ids=["list", "object", "text"])
def test_so_many_images_are_taken_and_no_more(wrap: Callable[[list[str]], Any]) -> None:
    urls = [f"{URL}?{number}" for number in range(50_000)]
    with within(5):
        assert collect_images(wrap(urls)) == tuple(Image(url=url) for url in urls[:16])


def test_the_longest_url_is_taken_and_no_longer_one() -> None:
    longest = URL + "?" + "x" * (2048 - len(URL) - 1)
    assert collect_images([longest + "x", longest]) == (Image(url=longest),)


def test_a_request_of_the_history_has_so_many_images(make_response: MakeResponse) -> None:
    rows = [{"request_id": "r", "generation_url": f"{URL}?{number}"} for number in range(20_000)]
    with within(5):
        (past,) = read_history(make_response(rows))
    assert len(past.images) == 16


@pytest.mark.parametrize(
    ("count", "reported"), [(10, ", ".join("abcdefghij")), (11, ", ".join("abcdefghij") + " and 1 more")]
)
def test_at_most_ten_keys_are_named(make_response: MakeResponse, count: int, reported: str) -> None:
    with pytest.raises(EmptyResultError) as caught:
        jobs.read_result(make_response(dict.fromkeys("abcdefghijk"[:count], 1)), "r")
    assert caught.value.message.endswith(f"its keys are: {reported}")


def test_names_of_keys_are_cut(make_response: MakeResponse) -> None:
    with pytest.raises(EmptyResultError) as caught:
        jobs.read_result(make_response({"k" * 2**20: 1}), "r")
    assert caught.value.message.endswith("its keys are: " + "k" * 40)


@pytest.mark.parametrize("status", [["x" * 1000] * 1000, {"a": 1}, "w" * 2**20, 10**4000], ids=range(4))
def test_a_status_of_any_type_is_shortened(make_response: MakeResponse, status: Any) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        jobs.read_result(make_response({"status": status, "output": URL}), "r")
    assert len(caught.value.message) < 200


BAD_IDS: dict[str, Any] = {
    "long": "r" * 201, "70 KB": "r" * 70_000, "blank within": "r 1", "line": "r\n1", "NUL": "r\0",
    "surrogate": "r\ud800", "not ASCII": "r\u00e4",
    "escape": "\x1b[31mr", "number": 7, "list": ["r"], "none": None, "struck out": KEY,
}  # fmt: skip


@pytest.mark.parametrize("request_id", BAD_IDS.values(), ids=BAD_IDS)
def test_an_id_that_cannot_be_one_is_an_unknown_outcome(request_id: Any) -> None:
    api = SegmindApi(KEY)
    body = json.dumps({"request_id": request_id, "status": "QUEUED"}).encode()
    call = api.submit(A_CAT, "m")
    with pytest.raises(SubmissionUnknownError) as caught:
        call.read_redacted(Response(200, {}, body, 0.0), api.api_key)
    assert caught.value.billing == "maybe"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("request_id", BAD_IDS.values(), ids=BAD_IDS)
def test_a_row_of_the_history_whose_id_cannot_be_one_stays_without_it(request_id: Any) -> None:
    api = SegmindApi(KEY, history_url="https://h/past")
    row = {"request_id": request_id, "request_body": {"prompt": "a", "seed": 7}, "generation_url": URL}
    body = json.dumps({"data": [row, row, row | {"request_id": "good"}]}).encode()
    rows = api.history("m", 0.0, 1).read_redacted(Response(200, {}, body, 0.0), api.api_key)
    assert [each.request_id for each in rows] == ["", "", "good"]
    assert all(each.matches_payload({"prompt": "a", "seed": 7}) for each in rows)
    with pytest.raises(InvalidResponseError):
        api.past_request("good").read_redacted(Response(200, {}, json.dumps(row).encode(), 0.0), api.api_key)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31T23:59:59", "1e308",
        "-1e308", "Mon, 01 Jan 0001 00:00:00 +2359", "1" * 10_000, "2023-11-14T22:13:20" + "0" * 10_000, " ", "\0",
        "\ud800", "253402300800000000000", "-62135596800001", "inf", "-nan", "2023-W46-2", "20231114T221320.000000Z",
    ],
    ids=lambda text: repr(text)[:30],
)  # fmt: skip
def test_no_time_is_a_trap(make_response: MakeResponse, text: str) -> None:
    moment = parse_moment(text)
    assert moment is None or abs(moment.seconds) < 1e12
    for name in ("retry-after", "x-rate-limit-reset-at-utc"):
        wait = retry_after_from({name: text}, 1_700_000_000.0)
        assert wait is None or 0 <= wait <= 3600
    (past,) = read_history(make_response([{"request_id": "r", "created_at": text}]))
    assert past.created_at is None or abs(past.created_at) < 1e12


@pytest.mark.parametrize("number", [1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000, 1_700_000_000_000_000_000])
def test_an_epoch_is_read_in_any_unit(number: int) -> None:
    assert parse_moment(number) == parse_moment(str(number)) == (1_700_000_000.0, 0.0)


@pytest.mark.parametrize(("text", "wait"), [("86400", 3600.0), ("1e308", 3600.0), ("-5", 0.0), ("3600", 3600.0)])
def test_an_advised_wait_is_an_hour_at_most(make_response: MakeResponse, text: str, wait: float) -> None:
    with pytest.raises(RateLimitedError) as caught:
        jobs.read_submission(make_response({}, 429, {"retry-after": text}))
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("time_told", "doubt"),
    [
        (1_700_000_000, 0.0),
        ("1700000000000", 0.0),
        ("2023-11-14T22:13:20Z", 0.0),
        ("2023-11-14T22:13:20+05:30", 0.0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),
        ("2023-11-14T22:13:20", 14 * 3600.0),
        ("2023-11-14 22:13:20.5", 14 * 3600.0),
        ("Tue, 14 Nov 2023 22:13:20", 14 * 3600.0),
        ("2023-11-14", 38 * 3600.0),
        (None, 0.0),
        ("today", 0.0),
    ],
    ids=str,
)
def test_a_time_has_its_doubt(make_response: MakeResponse, time_told: Any, doubt: float) -> None:
    (past,) = read_history(make_response([{"request_id": "r", "created_at": time_told}]))
    assert past.created_at_doubt == doubt


ROW = {"request_id": "r", "request_body": {"prompt": "a"}, "credits_deduction": 0.02}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["COMPLETED", "COMPLETED"], JobStatus.COMPLETED),
        (["PENDING", "COMPLETED"], JobStatus.COMPLETED),
        (["FAILED", "COMPLETED"], JobStatus.COMPLETED),
        (["FAILED", "FAILED"], JobStatus.FAILED),
        (["FAILED", "PENDING"], JobStatus.PROCESSING),
        (["FAILED", "new word"], JobStatus.UNKNOWN),
        (["PENDING", "PENDING"], JobStatus.PROCESSING),
    ],
    ids=str,
)
def test_the_rows_of_one_request_are_merged(make_response: MakeResponse, words: list[str], status: JobStatus) -> None:
    rows = [ROW | {"model_status": word, "generation_url": f"{URL}?{word}{place}"} for place, word in enumerate(words)]
    past = read_past_request(make_response({"request_id": "trace", "data": rows}))
    (listed,) = read_history(make_response(rows))
    for each in (past, listed):
        assert each is not None
        assert (each.status, len(each.images), each.cost) == (status, 2, 0.02)


def test_what_one_row_does_not_tell_another_may(make_response: MakeResponse) -> None:
    (past,) = read_history(make_response([{"request_id": "r"}, ROW | {"created_at": "2023-11-14", "model_name": "m"}]))
    assert (past.payload, past.cost, past.model) == ({"prompt": "a"}, 0.02, "m")
    assert (past.created_at, past.created_at_doubt) == (1_699_920_000.0, 38 * 3600.0)


@pytest.mark.parametrize("cost", [-0.01, "-1", 1e10, float("inf"), float("nan"), 10**4000, "1" * 5000], ids=range(7))
def test_a_cost_that_can_be_none_is_not_known(make_response: MakeResponse, cost: Any) -> None:
    """A negative one would let a batch spend more than its max_cost."""
    assert jobs.read_result(make_response({"output": URL, "metrics": {"cost": cost}}), "r").cost is None
    (past,) = read_history(make_response([ROW | {"credits_deduction": cost}]))
    assert past.cost is None


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, str(2**64), 10**4000, "9" * 399, "9" * 5000], ids=range(6))
def test_a_seed_that_no_xcom_carries_is_not_known(make_response: MakeResponse, seed: Any) -> None:
    assert integer_in(seed) is None
    assert jobs.read_result(make_response({"output": URL, "seed": seed}), "r").seed is None


HARMFUL = {"NUL": "\0", "lone surrogate": "\ud800", "the other half": "\udfff"}


@pytest.mark.parametrize("harm", HARMFUL.values(), ids=HARMFUL)
def test_what_no_database_takes_is_replaced(make_response: MakeResponse, harm: str) -> None:
    result = jobs.read_result(make_response({"output": f"{URL}?{harm}", "metrics": {harm: [harm]}}), "r")
    (past,) = read_history(make_response([ROW | {"model_name": harm, "request_body": {harm: harm}}]))
    with pytest.raises(KandinskyError) as caught:
        jobs.read_submission(make_response({"error": harm}, 400))
    written = str((result.urls, result.metrics, past, caught.value.message))
    assert written.count("\ufffd") == 7
    assert all(repr(each)[1:-1] not in written and each not in written for each in HARMFUL.values())


def test_an_error_is_one_line(make_response: MakeResponse) -> None:
    with pytest.raises(KandinskyError) as caught:
        jobs.read_submission(make_response({"error": "broke\n2026-01-01 INFO all is well\x1b[2J"}, 400))
    assert caught.value.message == "The service rejected the request: broke 2026-01-01 INFO all is well\ufffd[2J"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in text)


DISGUISES: dict[str, Callable[[Any], bytes]] = {
    "as it is": lambda body: json.dumps(body).encode(),
    "escaped": lambda body: json.dumps(body).replace(KEY, escaped(KEY)).encode(),
    "UTF-16": lambda body: json.dumps(body).encode("utf-16"),
    "UTF-16-LE": lambda body: json.dumps(body).encode("utf-16-le"),
    "UTF-32": lambda body: json.dumps(body).encode("utf-32"),
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_the_key_is_struck_out_of_what_was_read(disguise: Callable[[Any], bytes]) -> None:
    api = SegmindApi(KEY, history_url="https://h/past")
    inner = json.dumps({"url": f"{URL}?inner={KEY}"}).replace(KEY, escaped(KEY))
    row = {
        "request_id": f"r{KEY}", "model_name": KEY, "request_body": {KEY: [KEY]}, "generation_url": f"{URL}?{KEY}",
    }  # fmt: skip
    body = {
        "status": KEY, "output": [f"{URL}?{KEY}", inner], "seed": KEY, "metrics": {KEY: {"a": [KEY]}},
        "error": {"msg": KEY}, "data": [row],
    }  # fmt: skip
    written = []
    for name, call in {
        "submit": api.submit(A_CAT, "m"), "status": api.status("r"), "result": api.result("r", "m"),
        "generate": api.generate(A_CAT, "m"), "credits": api.credits(), "history": api.history("m", 0.0, 1),
        "past": api.past_request("r"),
    }.items():  # fmt: skip
        for status in (200, 201, 400, 404, 406, 422, 429, 500):
            for change in ({}, {"status": "COMPLETED"}, {"status": "FAILED"}, {"request_id": f"{KEY}-1"}):
                try:
                    written.append(
                        (name, call.read_redacted(Response(status, {}, disguise(body | change), 0.0), api.api_key))
                    )
                except KandinskyError as error:
                    written.append((name, error.message, error.args, error.to_dict()))
    reported = repr(written)
    assert "'result', GenerationResult" in reported
    assert "PastRequest" in reported
    assert KEY not in reported


@pytest.mark.parametrize(
    "broken",
    [
        escaped(KEY),
        "\\u0053" + KEY[1:],
        "\\" + escaped(KEY),
        f"<h1>&#83;{KEY[1:]}</h1>",
        f"<title>&#x53;{KEY[1:]}</title>",
    ],
)
def test_the_key_is_struck_out_of_what_could_not_be_parsed(broken: str) -> None:
    api = SegmindApi(KEY)
    with pytest.raises(KandinskyError) as caught:
        api.credits().read_redacted(Response(401, {}, f"{broken} is bad".encode(), 0.0), api.api_key)
    assert KEY[1:] not in caught.value.message
    assert "***" in caught.value.message


def test_a_key_in_a_url_is_struck_out_as_urls_write_it() -> None:
    api = SegmindApi("SG_a+b/c=")
    make_response = Response(200, {}, json.dumps({"output": f"{URL}?key=SG_a%2Bb%2Fc%3D"}).encode(), 0.0)
    assert api.result("r", None).read_redacted(make_response, api.api_key).urls == [f"{URL}?key=***"]


def test_no_repr_of_a_response_holds_the_key() -> None:
    seen: list[Response] = []
    api = SegmindApi(KEY)
    call = api.status("r")
    object.__setattr__(call, "read", seen.append)
    call.read_redacted(Response(200, {}, KEY.encode(), 0.0), api.api_key)
    assert KEY not in repr(seen)
