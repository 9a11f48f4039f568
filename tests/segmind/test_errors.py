"""The tree of errors, and its way through a trigger's event."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_kandinsky.segmind import errors
from airflow_provider_kandinsky.segmind.errors import (
    Billing,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    error_from_dict,
)


def family(root: type[KandinskyError]) -> Iterator[type[KandinskyError]]:
    yield root
    for branch in root.__subclasses__():
        yield from family(branch)


#: Batches add two of their own, which are no errors of the service.
TREE = [error_type for error_type in family(KandinskyError) if error_type.__module__ == errors.__name__]
#: The types after which the same call, made again without any change, can succeed.
RETRYABLE = {
    "RateLimitedError", "ServiceUnavailableError", "InvalidResponseError", "JobFailedError", "JobTimeoutError",
    "JobExpiredError", "ImageUnavailableError", "ImageNotStoredError", "IncompleteResultError",
}  # fmt: skip
#: The types of errors after which money was, or may have been, spent.
BILLED = {
    "SubmissionUnknownError": "maybe", "JobExpiredError": "maybe", "JobTimeoutError": "maybe",
    "EmptyResultError": "yes", "IncompleteResultError": "yes", "ImageUnavailableError": "yes",
    "ImageRefusedError": "yes", "ImageNotStoredError": "yes",
}  # fmt: skip


@pytest.mark.parametrize("error_type", TREE)
def test_each_type_says_whether_to_retry_and_what_it_cost(error_type: type[KandinskyError]) -> None:
    error = error_type("it broke")
    assert error.retryable == (error_type.__name__ in RETRYABLE)
    assert error.billing == BILLED.get(error_type.__name__, "no")


def facts(error: KandinskyError) -> dict[str, Any]:
    return {"type": type(error), "args": error.args, "text": str(error)} | vars(error) | {"billing": error.billing}


@pytest.mark.parametrize("error_type", TREE)
@pytest.mark.parametrize(
    "given",
    [{}, {"http_status": 502, "request_id": "r-1"}, {"billing": Billing.YES}, {"billing": "maybe"}],
    ids=["bare", "status and id", "billed", "billing as text"],
)
def test_each_type_survives_its_round_trips(error_type: type[KandinskyError], given: dict[str, Any]) -> None:
    error = error_type("it broke", **given)
    through_json = error_from_dict(json.loads(json.dumps(error.to_dict())))
    through_pickle = pickle.loads(pickle.dumps(error))
    assert facts(through_json) == facts(error)
    assert facts(through_pickle) == facts(error)


@pytest.mark.parametrize("retry_after", [None, 0.0, 12.5])
def test_the_advised_wait_travels_along(retry_after: float | None) -> None:
    error = error_from_dict(RateLimitedError("slow down", retry_after=retry_after).to_dict())
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == retry_after


def test_whether_a_retry_can_cure_it_travels_along() -> None:
    error = errors.SubmissionUnknownError("it got lost")
    error.retryable = True
    assert error_from_dict(error.to_dict()).retryable
    assert error_from_dict({"type": "QuantumError", "retryable": True}).retryable
    assert not error_from_dict({"type": "QuantumError", "retryable": "perhaps"}).retryable


@pytest.mark.parametrize(
    "values",
    [
        {"type": "QuantumError", "message": "it broke", "billing": "yes", "request_id": "r", "http_status": 599},
        {"type": "Exception", "message": "it broke", "billing": "yes", "request_id": "r", "http_status": 599},
        {"message": "it broke", "billing": "yes", "request_id": "r", "http_status": 599},
    ],
    ids=["newer type", "foreign type", "no type"],
)
def test_a_type_that_is_not_known_keeps_its_facts(values: dict[str, Any]) -> None:
    error = error_from_dict(values)
    assert type(error) is KandinskyError
    assert (error.message, error.billing, error.request_id, error.http_status) == ("it broke", "yes", "r", 599)


@pytest.mark.parametrize("error_type", TREE)
def test_fields_that_are_not_known_are_left_out(error_type: type[KandinskyError]) -> None:
    error = error_from_dict(error_type("it broke").to_dict() | {"weather": "fine", "retry_after": 3})
    assert type(error) is error_type
    assert not hasattr(error, "weather")


def test_an_empty_dict_is_still_an_error() -> None:
    assert error_from_dict({}).message == "unknown error"


def test_a_billing_that_is_not_known_is_tolerated() -> None:
    error = error_from_dict({"type": "JobFailedError", "message": "it broke", "billing": "refunded"})
    assert type(error) is errors.JobFailedError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "it broke [billed: no]"),
        ({"http_status": 502}, "it broke [HTTP 502, billed: no]"),
        ({"request_id": "r-1", "billing": "maybe"}, "it broke [request r-1, billed: maybe]"),
        ({"request_id": "r-1", "http_status": 502}, "it broke [request r-1, HTTP 502, billed: no]"),
    ],
    ids=str,
)
def test_the_text_tells_request_status_and_money(given: dict[str, Any], text: str) -> None:
    error = ServiceUnavailableError("it broke", **given)
    assert (str(error), error.message, error.args) == (text, "it broke", ("it broke",))


def test_the_text_ends_with_what_a_retry_will_do() -> None:
    error = KandinskyError("it broke")
    error.retry_hint = "A retry tries again."
    assert str(error) == "it broke [billed: no] A retry tries again."


def test_a_secret_is_taken_out_wherever_the_message_is() -> None:
    error = KandinskyError("bad key SG_x; was it SG_x?", http_status=401, request_id="r")
    error.redact("SG_x")
    assert (error.message, error.args) == ("bad key ***; was it ***?", ("bad key ***; was it ***?",))
    assert str(error) == "bad key ***; was it ***? [request r, HTTP 401, billed: no]"
