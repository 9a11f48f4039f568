"""Answers that are not what was asked for: which error they are, and what they say.

The same status means different things to different calls, so :func:`refusal` is told what the call was for. An
answer to a POST that cannot be understood means that the POST may have been accepted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
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
from airflow_provider_kandinsky.segmind.redaction import clean, one_line
from airflow_provider_kandinsky.segmind.wire.bodies import parse_json
from airflow_provider_kandinsky.segmind.wire.values import retry_after_from

#: Characters of an error page that are looked at, and of an error that are told.
_PAGE_BEGINNING: Final = 4096
_LONGEST_TEXT: Final = 500
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
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
class Response:
    """An HTTP response without its request.

    :param headers: names in lower case.
    :param content: the body as it was sent; empty if it was not read to its end.
    :param received_at: wall clock, seconds since the epoch; reset times are counted from it.
    :param unread: why the body was not read; empty if it was.
    :param secret: what is struck out of all that is read here: the API key.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    received_at: float
    unread: str = ""
    secret: str = field(default="", repr=False)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, or ``None`` where it is not JSON."""
        return self.parse(self.content)

    def parse(self, text: bytes | str) -> Any:
        """JSON that came in it, perhaps as a text within JSON; see :func:`~.bodies.parse_json`."""
        return parse_json(text, self.secret)

    def beginning(self) -> str:
        """The first 4096 characters of the body as text. More of an error page is never looked at."""
        # Twice as much is searched for the secret, so that none of it is left at the end.
        text = self.content[: 2 * _PAGE_BEGINNING].decode(errors="replace")
        # Broken JSON is text, and may tell the secret in its own way.
        text = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), html.unescape(text))
        return clean(text, self.secret)[:_PAGE_BEGINNING]


_BY_STATUS: Final[Mapping[int, tuple[type[KandinskyError], str]]] = {
    400: (BadRequestError, "The service refused the request"),
    401: (AuthenticationError, "The service does not accept the API key"),
    403: (PermissionDeniedError, "The API key has no permission for this model"),
    402: (InsufficientCreditsError, "Insufficient credits"),
    405: (MethodNotAllowedError, "The URL does not take this call; check the connection's host and the model"),
    406: (InsufficientCreditsError, "Insufficient credits"),
    410: (ModelRetiredError, "The model is retired; give another one as `model`"),
}


def error_from_status(answer: Response, purpose: Purpose, request_id: str | None = None) -> KandinskyError:
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
            retry_after=retry_after_from(answer.headers, answer.received_at),
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


def error_text(answer: Response) -> str:
    """What the service says went wrong, in a line of at most 500 characters: from JSON, or an HTML page's title."""
    if answer.unread:
        return f"a body that was not read, because {answer.unread}"
    body = answer.json()
    if body is not None:
        return one_line("; ".join(islice(_texts(body), 100)), _LONGEST_TEXT) or "no reason given"
    text = answer.beginning().strip()
    if title := _title(text):
        return f"an HTML page, {title!r}"
    return "an HTML page" if text.startswith("<") else one_line(text, _LONGEST_TEXT) or "an empty body"


def error_from_failed_job(answer: Response, request_id: str | None) -> JobFailedError:
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


def about_job(
    error_type: type[KandinskyError], message: str, answer: Response, request_id: str | None
) -> KandinskyError:
    """An error met while asking after a job does not change that the job was accepted, and may be billed."""
    billing = Billing.MAYBE if request_id else None
    return error_type(message, http_status=answer.status, request_id=request_id, billing=billing)


def _not_found(text: str, answer: Response, purpose: Purpose, request_id: str | None) -> KandinskyError:
    if purpose is Purpose.SUBMIT:
        return ModelNotFoundError(f"The service knows no such model: {text}", http_status=404)
    if purpose is Purpose.ACCOUNT:
        return ConfigurationError(f"The service has no such call; check the connection's host: {text}", http_status=404)
    return JobExpiredError(
        "The service does not know this request, or no longer: records are kept for one hour after submission",
        http_status=answer.status,
        request_id=request_id,
    )


def _texts(value: Any, depth: int = 8) -> Iterator[str]:
    """Text out of whatever an error came as: a string, an object, a list of objects. Each part is seen once."""
    if isinstance(value, (dict, list)):
        if depth == 0:
            return
        if isinstance(value, list):
            for item in value:
                yield from _texts(item, depth - 1)
            return
        for key in _ERROR_KEYS:
            texts = _texts(value.get(key) or None, depth - 1)
            if first := next(texts, ""):
                yield first
                yield from texts
                return
    elif value is not None and (text := str(value).strip()):
        yield text[:_LONGEST_TEXT]


def _title(page: str) -> str:
    """The title or the heading of an HTML page, in time that is linear in its length."""
    for tag in ("title", "h1"):
        opened = re.search(rf"<{tag}\b[^<>]*>", page, re.IGNORECASE)
        if opened and (closed := re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(page, opened.end())):
            return one_line(page[opened.end() : closed.start()], 200)
    return ""
