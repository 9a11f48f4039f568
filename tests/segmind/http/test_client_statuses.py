"""What each refusal of the service becomes, in both clients, over a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    InsufficientCreditsError,
    JobExpiredError,
    JobFailedError,
    KandinskyError,
    MethodNotAllowedError,
    ModelNotFoundError,
    ModelRetiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]

ACCOUNTS: dict[str, tuple[dict[str, Any], type[KandinskyError], int]] = {
    "bad key": ({"api_keys": ["other"]}, AuthenticationError, 401),
    "forbidden key": ({"api_keys": ["other"], "forbidden_keys": ["SG_sandbox"]}, PermissionDeniedError, 403),
    "unknown model": ({"models": ["other"]}, ModelNotFoundError, 404),
    "empty account": ({"credits": 0}, InsufficientCreditsError, 406),
    "retired model": ({"retired_models": ["kandinsky2.1-txt2im"]}, ModelRetiredError, 410),
}


@pytest.mark.parametrize(("settings", "error_type", "status"), ACCOUNTS.values(), ids=ACCOUNTS)
@pytest.mark.parametrize("call", ["submit", "generate"])
def test_a_rejected_submission_is_not_accepted(
    connect: Connect,
    sandbox: Sandbox,
    a_cat: TextToImageRequest,
    call: str,
    settings: Any,
    error_type: Any,
    status: int,
) -> None:
    sandbox.configure(**settings)
    with pytest.raises(error_type) as caught:
        getattr(connect(sandbox.url), call)(a_cat)
    assert (caught.value.http_status, caught.value.billing) == (status, "no")
    assert sandbox.submissions == []
    assert sandbox.count_calls(call) == 1


PAGE = "<html><head><title>Bad Gateway</title></head></html>"
#: Status and body, then the type on submit and on the two polls.
STATUSES: dict[str, tuple[int, Any, type[KandinskyError], type[KandinskyError]]] = {
    "400": (400, {"error": "bad"}, BadRequestError, BadRequestError),
    "401": (401, {"error": "bad"}, AuthenticationError, AuthenticationError),
    "403": (403, {"error": "bad"}, PermissionDeniedError, PermissionDeniedError),
    "404": (404, {"error": "bad"}, ModelNotFoundError, JobExpiredError),
    "405": (405, PAGE, MethodNotAllowedError, MethodNotAllowedError),
    "406 credits": (406, {"error": "insufficient credits"}, InsufficientCreditsError, InsufficientCreditsError),
    "406 parameter": (406, {"error": "Invalid value for samples"}, BadRequestError, BadRequestError),
    "410": (410, {"error": "bad"}, ModelRetiredError, ModelRetiredError),
    "422": (422, {"status": "FAILED", "error": "bad"}, BadRequestError, JobFailedError),
    "429": (429, {"error": "bad"}, RateLimitedError, RateLimitedError),
    "500": (500, {"error": "bad"}, SubmissionUnknownError, ServiceUnavailableError),
    "502": (502, PAGE, SubmissionUnknownError, ServiceUnavailableError),
    "504": (504, "", SubmissionUnknownError, ServiceUnavailableError),
}
each_status = pytest.mark.parametrize(
    ("status", "body", "on_submit", "on_look"), STATUSES.values(), ids=[name.replace(" ", "-") for name in STATUSES]
)


@each_status
@pytest.mark.parametrize("call", ["submit", "status", "result"])
def test_each_status_is_its_own_error(
    connect: Connect,
    sandbox: Sandbox,
    a_cat: TextToImageRequest,
    call: str,
    status: int,
    body: Any,
    on_submit: Any,
    on_look: Any,
) -> None:
    sandbox.fault(call, status=status, body=body, times=9, headers={"x-rate-limit-reset-at-utc": "1700000099"})
    client = connect(sandbox.url)
    with pytest.raises(KandinskyError) as caught:
        client.submit(a_cat) if call == "submit" else getattr(client, f"get_{call}")("r-1")
    error, submitting = caught.value, call == "submit"
    assert type(error) is (on_submit if submitting else on_look)
    assert error.http_status == status
    assert error.request_id == (None if submitting else "r-1")
    may_be_billed = error.__class__ is SubmissionUnknownError if submitting else error.__class__ is not JobFailedError
    assert error.billing == ("maybe" if may_be_billed else "no")
    assert getattr(error, "retry_after", None) == (99.0 if status == 429 else None)
    assert sandbox.count_calls(call) == 1
