"""The calls of the API before they are sent: where each goes, with what, and what it means that no response comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InvalidResponseError,
    KandinskyError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.http.call import Call, Priority
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest
from airflow_provider_kandinsky.segmind.wire.response import Response

from ..timezones import in_zone

MakeResponse = Callable[..., Response]
BASE, HISTORY = "https://segmind.test", "https://history.test/past"
NOON = 1_699_963_200.0  # 2023-11-14T12:00:00 UTC
A_CAT = TextToImageRequest(prompt="a cat", seed=7)
API = SegmindApi("SG_x", BASE, history_url=HISTORY)
POLL = {"json": None, "params": None, "is_billable": False, "rank": Priority.POLL}
RESULT = POLL | {"rank": Priority.RESULT}
SUBMISSION = {
    "request_id": None,
    "json": {"prompt": "a cat", "seed": 7},
    "params": None,
    "is_billable": True,
    "rank": Priority.SUBMIT,
}
PAGE = {"page": 3, "per_page": 100, "model_name": "m", "from_date": "2023-11-13"}
PAGE |= {"sort_by": "model_created", "sort_order": "desc"}

CALLS: dict[str, tuple[Call[Any], str, dict[str, Any]]] = {
    "submit": (API.submit(A_CAT, "m"), f"POST {BASE}/v2/m", SUBMISSION),
    "generate": (API.generate(A_CAT, "m"), f"POST {BASE}/v1/m", SUBMISSION),
    "status": (API.status("r-1"), f"GET {BASE}/v2/requests/r-1/status", POLL | {"request_id": "r-1"}),
    "result": (API.result("r-1", "m"), f"GET {BASE}/v2/requests/r-1", RESULT | {"request_id": "r-1"}),
    "credits": (API.credits(), f"GET {BASE}/v1/get-user-credits", RESULT | {"request_id": None}),
    "history": (API.history("m", NOON, 3), f"GET {HISTORY}", RESULT | {"request_id": None, "params": PAGE}),
    "past request": (API.past_request("r-1"), f"GET {HISTORY}/r-1", RESULT | {"request_id": "r-1"}),
}


@pytest.mark.parametrize(("call", "line", "rest"), CALLS.values(), ids=CALLS)
def test_each_call_goes_where_it_belongs(call: Call[Any], line: str, rest: dict[str, Any]) -> None:
    assert f"{call.method} {call.url}" == line
    assert {name: getattr(call, name) for name in rest} == rest


def test_submissions_come_before_results_and_results_before_polls() -> None:
    assert Priority.SUBMIT < Priority.RESULT < Priority.POLL


NEVER_SENT = [
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
]  # fmt: skip
LOST = [
    httpx.ReadTimeout, httpx.ReadError, httpx.WriteTimeout, httpx.WriteError, httpx.CloseError,
    httpx.RemoteProtocolError, httpx.DecodingError, httpx.TooManyRedirects,
]  # fmt: skip


@pytest.mark.parametrize("kind", NEVER_SENT)
@pytest.mark.parametrize("call", [call for call, *_ in CALLS.values()], ids=CALLS)
def test_what_was_never_sent_costs_nothing(call: Call[Any], kind: type[httpx.HTTPError]) -> None:
    error = call.transport_error(kind("SG_x"))
    assert type(error) is ServiceUnavailableError
    host = call.url.split("/")[2]
    assert error.message == f"The service could not be reached at {host}:443 ({kind.__name__}); nothing was sent"
    # It is about a job that may be billed, all the same.
    assert (error.request_id, error.billing) == (call.request_id, "maybe" if call.request_id else "no")


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("call", [call for call, *_ in CALLS.values()], ids=CALLS)
def test_a_lost_response_to_a_submission_is_an_unknown_outcome(call: Call[Any], kind: type[httpx.HTTPError]) -> None:
    error = call.transport_error(kind("SG_x"))
    if call.is_billable:
        assert type(error) is SubmissionUnknownError
        assert error.message == (
            f"The request was sent but the response was lost ({kind.__name__}); it may have been accepted"
        )
        assert (error.request_id, error.billing) == (None, "maybe")
        return
    assert type(error) is ServiceUnavailableError
    assert error.message == f"The connection was lost ({kind.__name__})"
    assert (error.request_id, error.billing) == (call.request_id, "maybe" if call.request_id else "no")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize(
    ("since", "from_date"),
    [(1_699_920_000.0, "2023-11-13"), (1_699_919_999.0, "2023-11-12"), (1_700_006_399.0, "2023-11-13")],
    ids=["midnight", "before midnight", "end of the day"],
)
def test_the_history_is_asked_from_the_day_before_wherever_this_machine_is(
    zone: str, since: float, from_date: str
) -> None:
    with in_zone(zone):
        assert (API.history("m", since, 1).params or {})["from_date"] == from_date


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("2c7f-11", "2c7f-11"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("kandinsky2.1-txt2im", "kandinsky2.1-txt2im"),
        (".", "%252E"),
        ("..", "%252E%252E"),
        ("..a", "..a"),
        ("X.X", "X.X"),
    ],
)
def test_a_name_is_one_segment_of_a_path(name: str, segment: str) -> None:
    assert API.submit(A_CAT, name).url == f"{BASE}/v2/{segment}"
    assert API.generate(A_CAT, name).url == f"{BASE}/v1/{segment}"
    assert API.result(name, None).url == f"{BASE}/v2/requests/{segment}"
    assert API.past_request(name).url == f"{HISTORY}/{segment}"


@pytest.mark.parametrize("ask", [API.status, API.past_request, lambda name: API.submit(A_CAT, name)])
@pytest.mark.parametrize("name", ["r-\ud800", "", "r" * 70_000], ids=["no text", "empty", "too long"])
def test_a_name_that_no_path_can_hold_is_refused(ask: Callable[[str], Any], name: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(name)
    assert caught.value.message == f"{name[:200]!r} cannot be a request id or a model"


@pytest.mark.parametrize("ask", [API.status, lambda name: API.result(name, None), API.past_request])
@pytest.mark.parametrize("name", ["a b", "r\n1", "\u00e4", "r" * 201], ids=repr)
def test_an_id_that_the_service_cannot_have_given_is_refused(ask: Callable[[str], Any], name: str) -> None:
    with pytest.raises(BadRequestError, match="cannot be a request id or a model"):
        ask(name)


def test_a_model_is_one_segment_with_blanks_and_all() -> None:
    assert API.submit(A_CAT, "a b").url == f"{BASE}/v2/a%20b"


@pytest.mark.parametrize("model", ["m", None])
def test_the_result_has_the_model(make_response: MakeResponse, model: str | None) -> None:
    done = make_response({"status": "COMPLETED", "output": "https://i/1.png"})
    assert API.result("r-1", model).read_redacted(done, API.api_key).model == model
    assert API.generate(A_CAT, "m").read_redacted(done, API.api_key).model == "m"
    assert API.result("r-1", model).read_redacted(done, API.api_key).request_id == "r-1"


@pytest.mark.parametrize("call", [API.status("r-1"), API.result("r-1", "m")], ids=["status", "result"])
def test_the_error_of_a_poll_names_its_job(make_response: MakeResponse, call: Call[Any]) -> None:
    for refused in (
        make_response({"error": "x"}, 500),
        make_response({"status": "FAILED"}, 422),
        make_response(b"<html>"),
    ):
        with pytest.raises(KandinskyError) as caught:
            call.read_redacted(refused, API.api_key)
        assert caught.value.request_id == "r-1"


def test_an_echo_of_the_key_is_taken_out_of_what_is_read(make_response: MakeResponse) -> None:
    result = API.result("r-1", None).read_redacted(
        make_response({"output": "https://i/SG_x.png?key=SG_x"}), API.api_key
    )
    assert result.urls == ["https://i/***.png?key=***"]


@pytest.mark.parametrize("echo", [b"SG_x", b'"\\u0053G_x"'], ids=["as it is", "escaped"])
def test_an_echo_of_the_key_is_taken_out_of_an_error(make_response: MakeResponse, echo: bytes) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        API.status("r-1").read_redacted(make_response(echo), API.api_key)
    assert caught.value.message == "Not the API's JSON: ***"
    assert caught.value.args == (caught.value.message,)


HTTP_ONLY = "must be http(s)://host, with a path at most"
CLEAR_TEXT = "would send the API key unencrypted; use https, or set allow_insecure if you mean it"
UNUSABLE: list[tuple[dict[str, Any], type[KandinskyError], str]] = [
    ({"api_key": " "}, AuthenticationError, "There is no API key"),
    *(
        ({"api_key": key}, AuthenticationError, "The API key has characters that no key has; was it copied completely?")
        for key in ("SG_\u00e4", "SG_\x00")
    ),
    *(
        ({name: url}, ConfigurationError, message)
        for name in ("base_url", "history_url")
        for url, message in {
            "https://h:port": "The base URL or the history URL is not a URL",
            f"https://{'h' * 64}.example": "The base URL or the history URL is not a URL",
            "https://h..example": "The base URL or the history URL is not a URL",
            "https://h\ud800": "The base URL or the history URL is not a URL",
            "ftp://h/x": f"'ftp://h/x' {HTTP_ONLY}",
            "https:///x": f"'https:///x' {HTTP_ONLY}",
            "https://h/x?y=1": f"'https://h/x' {HTTP_ONLY}",
            "https://h/x#y": f"'https://h/x' {HTTP_ONLY}",
            "https://u:SG_secret@h": f"'https://h/' {HTTP_ONLY}",
            "https://u@h": f"'https://h/' {HTTP_ONLY}",
            "http://h:80/x": f"'http://h/x' {CLEAR_TEXT}",
            "http://h:81/x": f"'http://h:81/x' {CLEAR_TEXT}",
        }.items()
    ),
]


@pytest.mark.parametrize(("given", "error_type", "message"), UNUSABLE, ids=[f"{given!r}" for given, *_ in UNUSABLE])
def test_an_account_that_cannot_work_is_refused_in_words(
    given: dict[str, Any], error_type: type[KandinskyError], message: str
) -> None:
    with pytest.raises(error_type) as caught:
        SegmindApi(**{"api_key": "SG_x"} | given)
    assert (type(caught.value), caught.value.message) == (error_type, message)
    assert caught.value.billing == "no"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (f" {HISTORY}/ ", HISTORY),
        ("history.test/past", HISTORY),
        ("https://history.test/v2", "https://history.test/v2"),
        ("https://history.test/XX/", "https://history.test/XX"),
        ("http://localhost:8765/past", "http://localhost:8765/past"),
    ],
)
def test_the_history_url_is_taken_whole(given: str, used: str) -> None:
    assert SegmindApi("SG_x", history_url=given).history_url == used
    assert SegmindApi("SG_x", BASE, history_url=given).history_url == used


VENDORS_HISTORY = "https://api.spotprod.segmind.com/inference-request/request-history"


@pytest.mark.parametrize(
    ("base_url", "history_url", "used"),
    [
        ("https://api.segmind.com", None, VENDORS_HISTORY),
        ("api.segmind.com/v1/", None, VENDORS_HISTORY),
        ("https://API.segmind.com:443", None, VENDORS_HISTORY),
        ("https://api.segmind.com", "", None),
        ("https://api.segmind.com/gateway", None, None),
        ("https://api.segmind.com:8443", None, None),
        ("https://api.segmind.com.example", None, None),
        (BASE, None, None),
        (BASE, "", None),
    ],
)
def test_only_the_vendors_own_base_url_has_a_history_by_itself(
    base_url: str, history_url: str | None, used: str | None
) -> None:
    assert SegmindApi("SG_x", base_url, history_url=history_url).history_url == used
