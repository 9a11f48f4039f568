"""The request history: one list of objects, wherever it is, and what a row says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidResponseError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus, TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.history import PastRequest, read_history, read_past_request
from airflow_provider_kandinsky.segmind.wire.response import Response

Connect = Callable[..., Any]
MakeResponse = Callable[..., Response]
ONE, TWO = "https://i/1.png", "https://i/2.png"
ROW = {
    "request_id": "r-1", "model_name": "m", "model_status": "COMPLETED", "request_body": {"prompt": "a", "seed": 7},
    "credits_deduction": 0.02, "generation_url": ONE, "model_created": "2023-11-14T22:13:20Z",
}  # fmt: skip


def deep(row: Any, *wraps: Callable[[Any], Any]) -> Any:
    """A row in wrappings, the innermost first."""
    for wrap in wraps:
        row = wrap(row)
    return row


def in_list(row: Any) -> Any:
    return [row]


def in_object(row: Any) -> Any:
    return {"data": row}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: rows,
        lambda rows: {"data": rows, "page": 1, "total": 5},
        lambda rows: {"tags": [], "result": {"items": rows}},
        lambda rows: deep(rows, *[in_object] * 4),
    ],
    ids=["bare", "data", "beside an empty list", "deep"],
)
def test_the_list_is_found_in_any_container(make_response: MakeResponse, wrap: Callable[[Any], Any]) -> None:
    (past,) = read_history(make_response(wrap([ROW])))
    assert (past.request_id, past.model, past.status, past.cost) == ("r-1", "m", JobStatus.COMPLETED, 0.02)
    assert (past.created_at, past.payload) == (1_700_000_000.0, {"prompt": "a", "seed": 7})
    assert past.result() == GenerationResult("r-1", (Image(ONE),), model="m", seed=7, cost=0.02)


def test_what_a_row_does_not_tell_is_unknown(make_response: MakeResponse) -> None:
    (past,) = read_history(make_response([{"request_id": "r-1"}]))
    assert past == PastRequest(
        "r-1", model="", status=JobStatus.UNKNOWN, payload={}, images=(), created_at=None, cost=None
    )
    assert past.result() == GenerationResult("r-1", (), model="")


@pytest.mark.parametrize(
    ("times", "created_at"),
    [
        ({"created_at": 1_700_000_000}, 1_700_000_000.0),
        ({"created": "1700000000000"}, 1_700_000_000.0),
        ({"timestamp": "2023-11-14T22:13:20Z"}, 1_700_000_000.0),
        ({"model_created": "2023-11-14T22:13:20Z", "timestamp": 5}, 1_700_000_000.0),
        ({"model_created": "today", "created_at": None, "created": 5}, 5.0),
        ({"model_created": "today"}, None),
    ],
    ids=str,
)
def test_the_first_time_that_can_be_read_is_taken(
    make_response: MakeResponse, times: Any, created_at: float | None
) -> None:
    (past,) = read_history(make_response([{"request_id": "r-1"} | times]))
    assert past.created_at == created_at


@pytest.mark.parametrize("inputs", ["a cat", ["a cat"], None, 7], ids=repr)
def test_inputs_in_another_form_are_not_read(make_response: MakeResponse, inputs: Any) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": inputs}]))
    assert past.payload == {}
    assert not past.matches_payload({"prompt": "a cat"})


@pytest.mark.parametrize(("sent", "seed"), [(7, 7), ("7", 7), (0, 0), (-1, None), ("-1", None), (None, None)], ids=repr)
def test_a_seed_that_was_left_to_the_service_is_not_known(
    make_response: MakeResponse, sent: Any, seed: int | None
) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": {"seed": sent}}]))
    assert past.result().seed == seed


@pytest.mark.parametrize("body", [[], {"data": []}], ids=str)
def test_an_empty_history_is_empty(make_response: MakeResponse, body: Any) -> None:
    assert read_history(make_response(body)) == []


@pytest.mark.parametrize("body", [{"data": [{"noise": 1}, {"request_id": ""}]}, [["r-1"]], [1, 2]], ids=str)
def test_a_list_of_something_else_does_not_say_that_nothing_was_submitted(
    make_response: MakeResponse, body: Any
) -> None:
    with pytest.raises(InvalidResponseError, match="Unexpected response from history_url"):
        read_history(make_response(body))


def test_inputs_that_come_as_text_are_read(make_response: MakeResponse) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": json.dumps(ROW["request_body"])}]))
    assert past.payload == ROW["request_body"]


BROKEN = b"<title>Broken</title>"
READERS: dict[Callable[[Response], Any], str] = {
    read_history: "Unexpected response from history_url",
    read_past_request: "Unexpected response for one request from history_url",
}
each_reader = pytest.mark.parametrize(("read", "meaning"), READERS.items(), ids=["page", "one"])


@each_reader
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "an empty body"),
        (BROKEN, "an HTML page, 'Broken'"),
        ({"data": {}}, "no reason given"),
        ("text", "text"),
        ({}, "no reason given"),
    ],
    ids=str,
)
def test_an_unexpected_history_response_is_quoted(
    make_response: MakeResponse, read: Callable[[Response], Any], meaning: str, body: Any, text: str
) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        read(make_response(body, 201))
    assert (caught.value.message, caught.value.http_status) == (f"{meaning}: {text}", 201)


@each_reader
@pytest.mark.parametrize("wrap", [in_list, in_object], ids=["lists", "objects"])
def test_a_bottomless_body_is_no_trap(
    make_response: MakeResponse, read: Callable[[Response], Any], meaning: str, wrap: Callable[[Any], Any]
) -> None:
    body = make_response(deep([ROW], *[wrap] * 400))
    with pytest.raises(InvalidResponseError, match=meaning):
        read(body)


def test_the_rows_of_one_request_become_one(make_response: MakeResponse) -> None:
    rows = [ROW, ROW | {"request_id": "r-2"}, ROW | {"generation_url": TWO}, ROW]
    first, second = read_history(make_response(rows))
    assert (first.request_id, first.result().urls) == ("r-1", [ONE, TWO])
    assert (second.request_id, second.result().urls) == ("r-2", [ONE])


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"prompt": "a", "seed": 7}, True),
        ({"prompt": "a", "seed": "7"}, True),
        ({"prompt": "a"}, True),
        ({"prompt": "a", "seed": 8}, False),
        ({"prompt": "b", "seed": 7}, False),
        ({"prompt": "a", "seed": 7, "samples": 2}, False),
        ({}, True),
    ],
    ids=str,
)
def test_a_request_is_known_by_its_payload(make_response: MakeResponse, sent: dict[str, Any], found: bool) -> None:
    (past,) = read_history(make_response([ROW]))
    assert past.matches_payload(sent) == found


@pytest.mark.parametrize(
    ("reported", "sent", "same"),
    [
        ("7", 7, True),
        (7, "7", True),
        ("8", 7, False),
        ("7.5", 7.5, True),
        ("7.50", 7.5, True),
        ("7.6", 7.5, False),
        ("much", 7.5, False),
        (None, 7.5, False),
        (None, 7, False),
        (str(2**53), 2**53, True),
        (str(2**53), 2**53 + 1, False),
        (1, True, True),
        (0, True, False),
        ("true", True, True),
        ("False", False, True),
        ("false", True, False),
        (None, False, False),
        ("a cat", "a cat ", False),
        ("a dog", "a cat", False),
        (None, "a cat", False),
    ],
    ids=repr,
)
def test_a_value_is_known_again_as_it_was_or_as_text(
    make_response: MakeResponse, reported: Any, sent: Any, same: bool
) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": {"x": reported}}]))
    assert past.matches_payload({"x": sent}) == same


def test_large_seeds_that_differ_are_two(make_response: MakeResponse) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": {"prompt": "a", "seed": 2**53}}]))
    assert not past.matches_payload({"prompt": "a", "seed": 2**53 + 1})


def test_a_large_seed_stays_exact(make_response: MakeResponse) -> None:
    (past,) = read_history(make_response([ROW | {"request_body": {"seed": 2**53 + 1}}]))
    assert past.result().seed == 2**53 + 1


@pytest.mark.parametrize(
    "wraps",
    [(), [in_object], [in_list], [in_list, in_object], [in_object] * 3, [in_list] * 3],
    ids=["bare", "object", "list", "both", "three objects", "three lists"],
)
def test_one_request_is_found_in_any_wrapping(make_response: MakeResponse, wraps: Any) -> None:
    past = read_past_request(make_response(deep(ROW, *wraps)))
    assert past is not None
    assert (past.request_id, past.result().urls) == ("r-1", [ONE])


@pytest.mark.parametrize(
    ("read", "wraps"),
    [
        (read_history, [in_list] + [in_object] * 5),
        (read_past_request, [in_list] * 4),
        (read_past_request, [in_object] * 4),
    ],
    ids=["page", "lists", "objects"],
)
def test_a_row_further_in_is_part_of_something_else(
    make_response: MakeResponse, read: Callable[[Response], Any], wraps: Any
) -> None:
    with pytest.raises(InvalidResponseError):
        read(make_response(deep(ROW, *wraps)))


@each_reader
def test_an_outage_of_the_history_costs_nothing(
    make_response: MakeResponse, read: Callable[[Response], Any], meaning: str
) -> None:
    with pytest.raises(ServiceUnavailableError, match="The service is unavailable: an HTML page, 'Broken'") as caught:
        read(make_response(BROKEN, 503))
    assert (caught.value.http_status, caught.value.billing) == (503, "no")


def test_a_history_that_is_not_there_is_a_wrong_url(make_response: MakeResponse) -> None:
    with pytest.raises(
        ConfigurationError, match="The service has no such endpoint; check the connection's host: Not Found"
    ):
        read_history(make_response({"error": "Not Found"}, 404))


def test_a_request_that_is_not_there_is_none(make_response: MakeResponse) -> None:
    assert read_past_request(make_response({"error": "not found"}, 404)) is None


def test_an_id_of_the_envelope_is_not_the_row(make_response: MakeResponse) -> None:
    past = read_past_request(make_response({"request_id": "trace-99", "data": ROW}))
    assert past is not None
    assert past.request_id == "r-1"


def test_the_history_over_a_socket(connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest) -> None:
    client = connect(sandbox.url, history_url=sandbox.history_url)
    job = client.submit(a_cat)
    made_at = sandbox.submissions[0]["at"]
    (past,) = client.get_history("kandinsky2.1-txt2im", since=made_at)
    assert past.request_id == job.request_id
    assert past.matches_payload(a_cat.payload())
    assert client.get_past_request(job.request_id) == past
    assert client.get_past_request("never-made") is None
    assert client.get_history("another-model", since=made_at) == []


def test_without_a_history_url_there_is_none_to_ask(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    for ask in (lambda: client.get_history("m", 0.0), lambda: client.get_past_request("r")):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert caught.value.message == "There is no request history: the connection has no history_url"
    assert sandbox.calls() == []


def test_a_rejected_history_call_raises_by_type(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url, "SG_unknown", history_url=sandbox.history_url)
    with pytest.raises(AuthenticationError):
        client.get_past_request("r")
