"""One call of the API, as data: where it goes, what it sends, how its response or its loss is read. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

import httpx

from airflow_provider_kandinsky.segmind.constants import MEGABYTE
from airflow_provider_kandinsky.segmind.errors import (
    InvalidResponseError,
    KandinskyError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.network import describe_failure, origin
from airflow_provider_kandinsky.segmind.redaction import MARK
from airflow_provider_kandinsky.segmind.wire.error_mapping import about_job
from airflow_provider_kandinsky.segmind.wire.response import Response

T = TypeVar("T")

#: What httpx raises while a request is built or sent, besides TimeoutError.
TRANSPORT_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)

#: Failures before the first byte of a request was sent.
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Priority(IntEnum):
    """The kinds of requests, for the order in which they wait; see :class:`~.request_queue.RequestQueue`."""

    SUBMIT = 0
    RESULT = 1
    POLL = 2


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how to read its response.

    :param read: reads the response, or raises the error that it means.
    :param request_id: the job, if the call is about one.
    :param is_billable: whether an accepted request costs money, so that after a lost response the outcome is unknown.
    :param is_history: whether it goes to the request history, whose limit is not the plan's.
    :param rank: its kind, for the order in which requests wait.
    :param max_bytes: the largest body that is read; a larger one is an error.
    :param on_send: called with the time just before each try; if it raises, the request is not sent.
    """

    method: str
    url: str
    read: Callable[[Response], T]
    request_id: str | None = None
    json: Any = None
    params: Mapping[str, Any] | None = None
    is_billable: bool = False
    is_history: bool = False
    rank: Priority = Priority.RESULT
    max_bytes: int = MEGABYTE
    on_send: Callable[[float], None] | None = None

    def transport_error(self, error: Exception) -> KandinskyError:
        """The error of a request without a response.

        The text of ``error`` is left out: httpx puts header values into some.
        """
        failure = describe_failure(error)
        if isinstance(error, _NEVER_SENT):
            message = f"The service could not be reached at {origin(self.url)} ({failure}); nothing was sent"
            return about_job(ServiceUnavailableError, message, None, self.request_id)
        if self.is_billable:
            return SubmissionUnknownError(
                f"The request was sent but the response was lost ({failure}); it may have been accepted"
            )
        return about_job(ServiceUnavailableError, f"The connection was lost ({failure})", None, self.request_id)

    def read_redacted(self, response: Response, api_key: str) -> T:
        """Read a response, with the API key redacted from its bytes, from what is parsed, and from errors."""
        content = response.content.replace(api_key.encode(), MARK.encode())
        try:
            if response.unread and response.is_success:
                raise self._unreadable(response)
            return self.read(replace(response, content=content, secret=api_key))
        except KandinskyError as error:
            error.redact(api_key)
            raise

    def _unreadable(self, response: Response) -> KandinskyError:
        """The error of a 2xx response whose body was not read."""
        if self.is_billable:
            return SubmissionUnknownError(
                f"The service accepted the request but its response cannot be read: {response.unread}; the job is "
                "probably running, and will then be billed",
                http_status=response.status,
            )
        message = f"The response cannot be read: {response.unread}"
        return about_job(InvalidResponseError, message, response.status, self.request_id)
