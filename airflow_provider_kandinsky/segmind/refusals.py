"""Answers that are not what was asked for: which error they are, and what they say.

The same status means different things to different calls, so :func:`refusal` is told what the call was for. An
answer to a POST that cannot be understood means that the POST may have been accepted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

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

_ERROR_KEYS: Final = ("error", "error_description", "detail", "message", "html-message", "msg")
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
    """What a call is for: the same status means different things to different calls."""

    SUBMIT = "submit"
    JOB = "job"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response without its request, and so without the API key.

    :param headers: names in lower case.
    :param received_at: wall clock, seconds since the epoch; reset times are counted from it.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    received_at: float

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, or ``None`` where it is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


_BY_STATUS: Final[Mapping[int, tuple[type[KandinskyError], str]]] = {
    400: (BadRequestError, "The service refused the request"),
    401: (AuthenticationError, "The service does not accept the API key"),
    403: (PermissionDeniedError, "The API key has no permission for this model"),
    402: (InsufficientCreditsError, "Insufficient credits"),
    405: (MethodNotAllowedError, "The URL does not take this call; check the connection's host and the model"),
    406: (InsufficientCreditsError, "Insufficient credits"),
    410: (ModelRetiredError, "The model is retired; give another one as `model`"),
}


def refusal(answer: Answer, purpose: Purpose, request_id: str | None = None) -> KandinskyError:
    """Say what a status other than 2xx means.

    :param purpose: what was asked for; 404 and 5xx depend on it.
    :param request_id: the job it was about.
    """
    text, status = error_text(answer), answer.status
    if status == 429:
        return RateLimitedError(
            f"Rate limited: {text}",
            http_status=status,
            request_id=request_id,
            billing=Billing.MAYBE if request_id else Billing.NO,
            retry_after=advised_wait(answer.headers, answer.received_at),
        )
    if 300 <= status < 400:
        message = "The service answered with a redirect, which is not followed; check the connection's host"
        return about_job(ConfigurationError, message, answer, request_id)
    if status == 404:
        return _not_found(text, answer, purpose, request_id)
    if status == 406 and _PARAMETER_WORDS.search(text) and not _CREDIT_WORDS.search(text):
        # Documented as "insufficient credits" alone, reported for refused values and content types as well.
        return about_job(BadRequestError, f"The service refused the request: {text}", answer, request_id)
    if status in _BY_STATUS:
        error_type, meaning = _BY_STATUS[status]
        return about_job(error_type, f"{meaning}: {text}", answer, request_id)
    if status >= 500 or status == 408:
        if purpose is Purpose.SUBMIT:
            return SubmissionUnknownError(
                f"The service failed while taking the job: {text}. It may have been accepted", http_status=status
            )
        return about_job(ServiceUnavailableError, f"The service is out of order: {text}", answer, request_id)
    return about_job(BadRequestError, f"The service refused the request: {text}", answer, request_id)


def error_text(answer: Answer) -> str:
    """What the service says went wrong, in at most 500 characters: from JSON, or the title of an HTML page."""
    body = answer.json()
    if body is not None:
        return _flatten(body)[:500] or "no reason given"
    text = answer.content.decode(errors="replace").strip()
    if title := re.search(r"<(title|h1)[^>]*>(.*?)</\1>", text, re.IGNORECASE | re.DOTALL):
        return f"an HTML page, {' '.join(title[2].split())[:200]!r}"
    return "an HTML page" if text.startswith("<") else text[:500] or "an empty body"


def advised_wait(headers: Mapping[str, str], now: float) -> float | None:
    """How many seconds the service asks to wait, from ``Retry-After`` or ``x-rate-limit-reset-at-utc``.

    The format of the latter is not documented: seconds or milliseconds since the epoch, ISO 8601 and HTTP dates
    are all understood.

    :param headers: names in lower case.
    :param now: seconds since the epoch.
    :return: 0 or more; ``None`` if nothing was said, or nothing that can be read.
    """
    if (delay := number_in(headers.get("retry-after"))) is not None:
        return max(0.0, delay)
    for name in ("retry-after", "x-rate-limit-reset-at-utc"):
        if name in headers and (moment := moment_in(headers[name])) is not None:
            return max(0.0, moment - now)
    return None


def failure(answer: Answer, request_id: str | None) -> JobFailedError:
    """Say why a job that ran has FAILED. Only the text tells a content block or a bad parameter from a mishap."""
    text = error_text(answer)
    if _BLOCKED_WORDS.search(text):
        return ContentBlockedError(
            f"The service blocked this content: {text}", http_status=answer.status, request_id=request_id
        )
    if _PARAMETER_WORDS.search(text):
        return JobRejectedError(
            f"The job failed for its parameters: {text}", http_status=answer.status, request_id=request_id
        )
    return JobFailedError(f"The job failed: {text}", http_status=answer.status, request_id=request_id)


def about_job(error_type: type[KandinskyError], message: str, answer: Answer, request_id: str | None) -> KandinskyError:
    """An error met while asking after a job does not change that the job was accepted, and may be billed."""
    billing = Billing.MAYBE if request_id else None
    return error_type(message, http_status=answer.status, request_id=request_id, billing=billing)


def _not_found(text: str, answer: Answer, purpose: Purpose, request_id: str | None) -> KandinskyError:
    if purpose is Purpose.SUBMIT:
        return ModelNotFoundError(f"The service knows no such model: {text}", http_status=404)
    if purpose is Purpose.ACCOUNT:
        return ConfigurationError(f"The service has no such call; check the connection's host: {text}", http_status=404)
    return JobExpiredError(
        "The service does not know this request, or no longer: records are kept for one hour after submission",
        http_status=answer.status,
        request_id=request_id,
    )


def _flatten(value: Any, depth: int = 8) -> str:
    """Text out of whatever an error came as: a string, an object, a list of objects."""
    if isinstance(value, (dict, list)) and depth == 0:
        return ""
    if isinstance(value, dict):
        texts = (_flatten(value[key], depth - 1) for key in _ERROR_KEYS if value.get(key))
        return next((text for text in texts if text), "")
    if isinstance(value, list):
        return "; ".join(text for item in value if (text := _flatten(item, depth - 1)))
    return "" if value is None else str(value).strip()


def number_in(value: Any) -> float | None:
    """A finite number, also out of a string; ``None`` for all else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def integer_in(value: Any) -> int | None:
    """An integer, also out of a string, and exactly: through a float the large ones would be rounded."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def moment_in(value: Any) -> float | None:
    """A time, as seconds since the epoch: from seconds or milliseconds, ISO 8601, or an HTTP date."""
    if (number := number_in(value)) is not None:
        return number / 1000 if number > 1e11 else number
    text = str(value).strip()
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except (ValueError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
