"""The API key is in no error, no log and no repr, whatever goes wrong and whatever the service echoes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.http.api import SegmindApi
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]
KEY = "SG_f00dfeedc0ffee42"


def all_errors(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes and contexts, and the exceptions held by the frames they went through."""
    seen: set[int] = set()
    found = [error]
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        found += [near for near in (each.__cause__, each.__context__) if near is not None]
        trace = each.__traceback__
        while trace is not None:
            if "/tests/" not in trace.tb_frame.f_code.co_filename:
                found += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, BaseException)]
            trace = trace.tb_next


def told_by(error: BaseException) -> str:
    texts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    for name in ("request", "response", "_request"):
        message = vars(error).get(name)
        texts.append(repr(getattr(message, "headers", httpx.Headers()).raw) if message is not None else "")
    return " ".join(texts)


def test_the_search_finds_a_key_that_is_hidden() -> None:
    request = httpx.Request("GET", "https://h", headers={"x-api-key": KEY})

    def lose() -> None:
        try:
            raise httpx.ReadTimeout("late", request=request)
        except httpx.HTTPError:
            raise KandinskyError("lost") from None

    with pytest.raises(KandinskyError) as caught:
        lose()
    assert any(KEY in told_by(each) for each in all_errors(caught.value))


ECHO = {"error": f"invalid key {KEY}", "output": f"https://i/{KEY}"}
FAULTS: dict[str, dict[str, Any]] = {
    **{f"{status} JSON": {"status": status, "body": ECHO} for status in (400, 401, 403, 404, 406, 410, 422, 429, 500)},
    "FAILED": {"body": {"status": "FAILED"} | ECHO},
    "not there yet": {"body": {"status": KEY} | ECHO},
    "key as name": {"body": {"status": "COMPLETED", KEY: KEY}},
    "HTML": {"status": 502, "body": f"<title>{KEY}</title>"},
    "HTML under 200": {"body": f"<title>{KEY}</title>"},
    "text": {"status": 400, "body": f"bad key {KEY}"},
    "JSON text": {"body": json.dumps(KEY)},
    "redirect": {"status": 302, "headers": {"location": f"https://h/?key={KEY}"}},
    "header": {"status": 429, "headers": {"retry-after": KEY, "x-rate-limit-reset-at-utc": KEY}},
    "dropped": {"drop": True},
    "timeout": {"stall": 30},
}
CALLS: dict[str, Callable[[Any, TextToImageRequest], Any]] = {
    "submit": lambda client, request: client.submit(request),
    "generate": lambda client, request: client.generate(request),
    "status": lambda client, _: client.get_status("r-1"),
    "result": lambda client, _: client.get_result("r-1"),
    "credits": lambda client, _: client.get_credits(),
}


def expect_no_key(call: Callable[[], Any]) -> None:
    """What a call gives or raises does not hold the key."""
    try:
        given = repr(call())
    except KandinskyError as error:
        errors = list(all_errors(error))
        given = " ".join(map(told_by, errors)) + repr(error.to_dict())
    assert KEY not in given


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_error_holds_the_key(
    connect: Connect,
    sandbox: Sandbox,
    a_cat: TextToImageRequest,
    fault: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)  # at which httpcore writes the headers of responses
    client = connect(sandbox.url, KEY, request_timeout=0.1 if "stall" in fault else 5)
    for name, call in CALLS.items():
        if "stall" in fault and name == "generate":
            continue  # it has a timeout of its own, of minutes
        sandbox.fault(name, times=9, **fault)
        expect_no_key(lambda call=call: call(client, a_cat))
    expect_no_key(lambda: client.wait("r-1", timeout=30))
    assert KEY not in caplog.text


def test_the_error_of_an_unreachable_host_has_no_key(connect: Connect, a_cat: TextToImageRequest) -> None:
    client = connect("http://127.0.0.1:1", KEY)
    for call in CALLS.values():
        expect_no_key(lambda call=call: call(client, a_cat))


BODY = {"error": f"invalid key {KEY}"}


@pytest.mark.parametrize(
    "content",
    [json.dumps(BODY).encode("utf-16"), json.dumps(BODY).replace("SG_", "\\u0053G_").encode()],
    ids=["UTF-16", "escaped"],
)
def test_a_key_in_disguise_is_found(connect: Connect, content: bytes) -> None:
    client = connect(api_key=KEY, transport=httpx.MockTransport(lambda _: httpx.Response(400, content=content)))
    expect_no_key(client.get_credits)


def test_no_repr_holds_the_key(connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest) -> None:
    client = connect(sandbox.url, KEY)
    settings = ConnectionSettings(base_url=sandbox.url, api_key=KEY)
    api = SegmindApi(KEY, sandbox.url)
    calls = [api.submit(a_cat, "m"), api.status("r"), api.credits()]
    reported = [repr(each) + str(each) for each in (client, vars(client), api, settings, a_cat, calls)]
    assert not [each for each in reported if KEY in each]
    assert settings.api_key == api.api_key == KEY
