"""Which error a response means.

The same status means different things for different calls, see :class:`Purpose`. A response to a POST that cannot be
understood means that the POST may have been accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    Billing,
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
        return RateLimitedError(
            f"Rate limited: {text}",
            http_status=status,
            request_id=request_id,
            billing=Billing.MAYBE if request_id else Billing.NO,
            retry_after=retry_after_from(response.headers, response.received_at),
        )
    if 300 <= status < 400:
        message = "The service responded with a redirect, which is not followed; check the connection's host"
        return about_job(ConfigurationError, message, response, request_id)
    if status == 404:
        return _not_found(text, response, purpose, request_id)
    if status == 406 and _PARAMETER_WORDS.search(text) and not _CREDIT_WORDS.search(text):
        # Documented only as "insufficient credits", but also reported for rejected values and content types.
        return about_job(BadRequestError, f"The service rejected the request: {text}", response, request_id)
    if status == 410 and model and (others := other_models_of_family(model)):
        message = f"The model is retired; set another one as `model`, such as {' or '.join(others)}: {text}"
        return about_job(ModelRetiredError, message, response, request_id)
    if status in _BY_STATUS:
        error_type, meaning = _BY_STATUS[status]
        return about_job(error_type, f"{meaning}: {text}", response, request_id)
    if status >= 500 or status == 408:
        if purpose is Purpose.SUBMIT:
            return SubmissionUnknownError(
                f"The service failed while accepting the job: {text}. It may have been accepted", http_status=status
            )
        return about_job(ServiceUnavailableError, f"The service is unavailable: {text}", response, request_id)
    return about_job(BadRequestError, f"The service rejected the request: {text}", response, request_id)


def error_from_failed_job(response: Response, request_id: str | None) -> JobFailedError:
    """The error of a job that is FAILED. Only its text shows whether the content or a parameter was the cause."""
    text = error_text(response)
    if _BLOCKED_WORDS.search(text):
        return ContentBlockedError(
            f"The service blocked this content: {text}", http_status=response.status, request_id=request_id
        )
    if _PARAMETER_WORDS.search(text):
        return JobRejectedError(
            f"The job failed because of its parameters: {text}", http_status=response.status, request_id=request_id
        )
    return JobFailedError(f"The job failed: {text}", http_status=response.status, request_id=request_id)


def about_job(
    error_type: type[KandinskyError], message: str, response: Response, request_id: str | None
) -> KandinskyError:
    """An error of a call; if the call is about a job, that job was accepted and may be billed."""
    billing = Billing.MAYBE if request_id else None
    return error_type(message, http_status=response.status, request_id=request_id, billing=billing)


def _not_found(text: str, response: Response, purpose: Purpose, request_id: str | None) -> KandinskyError:
    if purpose is Purpose.SUBMIT:
        return ModelNotFoundError(f"The service has no such model: {text}", http_status=404)
    if purpose is Purpose.ACCOUNT:
        return ConfigurationError(
            f"The service has no such endpoint; check the connection's host: {text}", http_status=404
        )
    return JobExpiredError(
        "The service has no record of this request; records are kept for one hour after submission",
        http_status=response.status,
        request_id=request_id,
    )
