"""The request history: one list of objects, wherever it is, and what a row tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError, InvalidResponseError
from airflow_provider_kandinsky.segmind.history import read_history, read_past_request
from airflow_provider_kandinsky.segmind.refusals import Answer
from airflow_provider_kandinsky.segmind.schemas import JobStatus, TextToImageRequest

Connect = Callable[..., Any]
MakeAnswer = Callable[..., Answer]
ONE, TWO = "https://i/1.png", "https://i/2.png"
ROW = {
    "request_id": "r-1", "model_name": "m", "model_status": "COMPLETED", "request_body": {"prompt": "a", "seed": 7},
    "credits_deduction": 0.02, "generation_url": ONE, "model_created": "2023-11-14T22:13:20Z",
}  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: rows,
        lambda rows: {"data": rows, "page": 1, "total": 5},
        lambda rows: {"tags": [], "result": {"items": rows}},
        lambda rows: {"a": {"b": {"c": {"d": rows}}}},
    ],
    ids=["bare", "data", "beside an empty list", "deep"],
)
def test_the_list_is_found_in_any_container(answer: MakeAnswer, wrap: Callable[[Any], Any]) -> None:
    (past,) = read_history(answer(wrap([ROW])))
    assert (past.request_id, past.model, past.status, past.cost) == ("r-1", "m", JobStatus.COMPLETED, 0.02)
    assert (past.created_at, past.payload) == (1_700_000_000.0, {"prompt": "a", "seed": 7})
    assert past.result().urls == [ONE]
    assert (past.result().seed, past.result().cost) == (7, 0.02)


@pytest.mark.parametrize("body", [[], {"data": []}, {"data": [{"noise": 1}, {"request_id": ""}]}], ids=str)
def test_an_empty_history_is_empty(answer: MakeAnswer, body: Any) -> None:
    assert read_history(answer(body)) == []


@pytest.mark.parametrize("body", [b"", b"<html>", {"data": {}}, "text", {}], ids=str)
def test_what_has_no_list_is_no_history(answer: MakeAnswer, body: Any) -> None:
    with pytest.raises(InvalidResponseError):
        read_history(answer(body))


def test_the_rows_of_one_request_become_one(answer: MakeAnswer) -> None:
    rows = [ROW, ROW | {"request_id": "r-2"}, ROW | {"generation_url": TWO}, ROW]
    first, second = read_history(answer(rows))
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
    ],
    ids=str,
)
def test_a_request_is_known_by_its_payload(answer: MakeAnswer, sent: dict[str, Any], found: bool) -> None:
    (past,) = read_history(answer([ROW]))
    assert past.asked_for(sent) == found


def test_large_seeds_that_differ_are_two(answer: MakeAnswer) -> None:
    (past,) = read_history(answer([ROW | {"request_body": {"prompt": "a", "seed": 2**53}}]))
    assert not past.asked_for({"prompt": "a", "seed": 2**53 + 1})


def test_a_large_seed_is_told_as_it_was_sent(answer: MakeAnswer) -> None:
    (past,) = read_history(answer([ROW | {"request_body": {"seed": 2**53 + 1}}]))
    assert past.result().seed == 2**53 + 1


@pytest.mark.parametrize("body", [ROW, {"data": ROW}, [ROW], {"data": [ROW]}], ids=["bare", "object", "list", "both"])
def test_one_request_is_found_in_any_wrapping(answer: MakeAnswer, body: Any) -> None:
    past = read_past_request(answer(body))
    assert past is not None
    assert (past.request_id, past.result().urls) == ("r-1", [ONE])


def test_a_request_that_is_not_there_is_none(answer: MakeAnswer) -> None:
    assert read_past_request(answer({"error": "not found"}, 404)) is None


def test_an_id_of_the_envelope_is_not_the_row(answer: MakeAnswer) -> None:
    past = read_past_request(answer({"request_id": "trace-99", "data": ROW}))
    assert past is not None
    assert past.request_id == "r-1"


def test_the_history_over_a_socket(connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest) -> None:
    client = connect(sandbox.url, history_url=sandbox.history_url)
    job = client.submit(a_cat)
    made_at = sandbox.submissions[0]["at"]
    (past,) = client.get_history("kandinsky2.1-txt2im", since=made_at)
    assert past.request_id == job.request_id
    assert past.asked_for(a_cat.payload())
    assert client.get_past_request(job.request_id) == past
    assert client.get_past_request("never-made") is None
    assert client.get_history("another-model", since=made_at) == []


def test_without_a_history_url_there_is_none_to_ask(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    for ask in (lambda: client.get_history("m", 0.0), lambda: client.get_past_request("r")):
        with pytest.raises(ConfigurationError, match="history_url"):
            ask()
    assert sandbox.calls() == []


def test_a_refused_history_is_told_by_type(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url, "SG_unknown", history_url=sandbox.history_url)
    with pytest.raises(AuthenticationError):
        client.get_past_request("r")
