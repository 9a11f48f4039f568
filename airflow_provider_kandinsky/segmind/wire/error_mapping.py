"""Which error a response means.

The same status means different things for different calls, see :class:`Purpose`. A response to a POST that cannot be
understood means that the POST may have been accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    Billing,
    ConfigurationError,
    ContentBlockedError,
    InsufficientCreditsError,
    InvalidResponseError,
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
from airflow_provider_kandinsky.segmind.models import other_models_of_family
from airflow_provider_kandinsky.segmind.wire.response import Response, error_text
from airflow_provider_kandinsky.segmind.wire.values import retry_after_from

_CREDIT_WORDS: Final = re.compile(r"credit|balance|spending|quota|payment|insufficient", re.IGNORECASE)
_BLOCKED_WORDS: Final = re.compile(
    r"nsfw|safety|moderat|content.{0,12}(block|polic|filter)|sensitive content|prohibited|inappropriate", re.IGNORECASE
)
_PARAMETER_WORDS: Final = re.compile(
    r"invalid (value|parameter|input)|is not allowed|must be|(?<!index )out of range|should be|not one of|"
    r"validation|content-type",
    re.IGNORECASE,
)


class Purpose(Enum):
    """What a call is about."""

    SUBMIT = "submit"
    JOB = "job"
    ACCOUNT = "account"


_BY_STATUS: Final[Mapping[int, tuple[type[KandinskyError], str]]] = {
    400: (BadRequestError, "The service rejected the request"),
    401: (AuthenticationError, "The service rejected the API key"),
    403: (PermissionDeniedError, "The API key has no permission for this model"),
    402: (InsufficientCreditsError, "Insufficient credits"),
    405: (MethodNotAllowedError, "The URL does not accept this method; check the connection's host and the model"),
    406: (InsufficientCreditsError, "Insufficient credits"),
    410: (ModelRetiredError, "The model is retired; set another one as `model`"),
}


def error_from_status(
    response: Response, purpose: Purpose, request_id: str | None = None, model: str | None = None
) -> KandinskyError:
    """The error that a status other than 2xx means.

    :param purpose: what the call is about; the meaning of 404 and 5xx depends on it.
    :param request_id: the job, if the call is about one.
    :param model: the slug that was submitted to, if the call is a submission.
    """
    text, status = error_text(response), response.status
    if status == 429:
        retry_after = retry_after_from(response.headers, response.received_at)
        return about_job(RateLimitedError, f"Rate limited: {text}", status, request_id, retry_after=retry_after)
    if 300 <= status < 400:
        message = "The service responded with a redirect, which is not followed; check the connection's host"
        return about_job(ConfigurationError, message, status, request_id)
    if status == 404 and purpose is Purpose.JOB:
        message = "The service has no record of this request; records are kept for one hour after submission"
        return about_job(JobExpiredError, message, status, request_id)
    if purpose is Purpose.SUBMIT and _is_outage(status):
        message = f"The service failed while accepting the job: {text}. It may have been accepted"
        return about_job(SubmissionUnknownError, message, status, request_id)
    error_type, meaning = _meaning(status, text, purpose, model)
    return about_job(error_type, f"{meaning}: {text}", status, request_id)


def error_from_failed_job(response: Response, request_id: str | None) -> JobFailedError:
    """The error of a job that is FAILED. Only its text shows whether the content or a parameter was the cause."""
    text = error_text(response)
    error_type, meaning = JobFailedError, "The job failed"
    if _BLOCKED_WORDS.search(text):
        error_type, meaning = ContentBlockedError, "The service blocked this content"
    elif _PARAMETER_WORDS.search(text):
        error_type, meaning = JobRejectedError, "The job failed because of its parameters"
    return error_type(f"{meaning}: {text}", http_status=response.status, request_id=request_id)


def about_job(
    error_type: type[KandinskyError], message: str, status: int | None, request_id: str | None, **details: Any
) -> KandinskyError:
    """An error of a call; if the call is about a job, that job was accepted and may be billed.

    :param status: of the response; ``None`` if there was none.
    :param details: further arguments of the error's type.
    """
    billing = Billing.MAYBE if request_id else None
    return error_type(message, http_status=status, request_id=request_id, billing=billing, **details)


def unexpected_body(message: str, response: Response) -> InvalidResponseError:
    """The error of a free call whose response is not the API's; its text is added to the message."""
    return InvalidResponseError(f"{message}: {error_text(response)}", http_status=response.status)


def _meaning(status: int, text: str, purpose: Purpose, model: str | None) -> tuple[type[KandinskyError], str]:
    """The type of an error, and what its message says before the service's own text."""
    if status == 404 and purpose is Purpose.SUBMIT:
        return ModelNotFoundError, "The service has no such model"
    if status == 404:
        return ConfigurationError, "The service has no such endpoint; check the connection's host"
    if status == 406 and _PARAMETER_WORDS.search(text) and not _CREDIT_WORDS.search(text):
        # Documented only as "insufficient credits", but also reported for rejected values and content types.
        return _BY_STATUS[400]
    if status == 410 and model and (others := other_models_of_family(model)):
        return ModelRetiredError, f"The model is retired; set another one as `model`, such as {' or '.join(others)}"
    if _is_outage(status):
        return ServiceUnavailableError, "The service is unavailable"
    return _BY_STATUS.get(status, _BY_STATUS[400])


def _is_outage(status: int) -> bool:
    return status >= 500 or status == 408
