"""The calls of the API: where each goes, what it sends, how its answer or its loss is read. Does no I/O.

Every URL is built here, from the base URL and an id. Those that the service puts into its answers are read for
nothing, so the API key goes to the connection's own host and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import partial
from typing import Any, Final, Generic, TypeVar

import httpx

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    Billing,
    ConfigurationError,
    InvalidResponseError,
    KandinskyError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.http.network import describe_failure, is_loopback, origin
from airflow_provider_kandinsky.segmind.http.url_paths import id_segment, segment
from airflow_provider_kandinsky.segmind.redaction import MARK
from airflow_provider_kandinsky.segmind.schemas import (
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.wire import jobs
from airflow_provider_kandinsky.segmind.wire.bodies import MEGABYTE
from airflow_provider_kandinsky.segmind.wire.error_mapping import Response, about_job
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest, read_history, read_past_request

T = TypeVar("T")

DEFAULT_BASE_URL: Final = "https://api.segmind.com"
#: Where the vendor's own client asks for past requests, with the same key. It belongs to the base URL above alone.
DEFAULT_HISTORY_URL: Final = "https://api.spotprod.segmind.com/inference-request/request-history"
#: The history can be asked for so many days at a time.
_LONGEST_WINDOW: Final = timedelta(days=31)

#: Bytes of an answer that can hold images, and of a page of the history, which holds their URLs and the prompts.
MAX_RESULT: Final = 64 * MEGABYTE
MAX_HISTORY: Final = 16 * MEGABYTE

#: What httpx raises when a request is built or sent, beside TimeoutError.
TRANSPORT_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)

#: Failures that come before the first byte of a request has left.
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class Priority(IntEnum):
    """Requests that have to wait go in this order: what buys, what gets an answer that is there, what only looks."""

    PURCHASE = 0
    ANSWER = 1
    LOOK = 2


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how to read what comes of it.

    :param read: the reader of the answer; raises if the answer is not what was asked for.
    :param buys: whether an accepted request costs money, so that a lost answer is an unknown outcome.
    :param rank: who goes before whom, where requests have to wait.
    :param max_bytes: so much of an answer is read; a larger one is an error.
    :param before_send: called each time just before the request leaves; what it raises keeps the request back.
    """

    method: str
    url: str
    read: Callable[[Response], T]
    request_id: str | None = None
    json: Any = None
    params: Mapping[str, Any] | None = None
    is_billable: bool = False
    rank: Priority = Priority.ANSWER
    max_bytes: int = MEGABYTE
    before_send: Callable[[], None] | None = None

    def transport_error(self, error: Exception) -> KandinskyError:
        """Say what it means that no answer came.

        The failure's own text is not repeated: httpx puts header values into some.
        """
        failure = describe_failure(error)
        if isinstance(error, _NEVER_SENT):
            return self._unavailable(
                f"The service could not be reached at {origin(self.url)} ({failure}); nothing was sent"
            )
        if self.is_billable:
            return SubmissionUnknownError(
                f"The request was sent but its answer was lost ({failure}); it may have been accepted"
            )
        return self._unavailable(f"The connection was lost ({failure})")

    def unreadable(self, answer: Response) -> KandinskyError:
        """Say what it means that the body of an answer, which was a 2xx, was not read."""
        if self.is_billable:
            return SubmissionUnknownError(
                f"The service accepted the request but its answer cannot be read: {answer.unread}; the job is probably "
                "running, and will then be billed",
                http_status=answer.status,
            )
        return about_job(InvalidResponseError, f"The answer cannot be read: {answer.unread}", answer, self.request_id)

    def _unavailable(self, message: str) -> ServiceUnavailableError:
        billing = Billing.MAYBE if self.request_id else Billing.NO
        return ServiceUnavailableError(message, request_id=self.request_id, billing=billing)


@dataclass(frozen=True)
class SegmindApi:
    """An account at a service.

    :param api_key: sent as ``x-api-key``; a key sent as Bearer is refused by the service.
    :param base_url: scheme and host, perhaps with a path. A trailing ``/v1`` or ``/v2`` (as the vendor's SDK wants)
        is left out. Without a scheme it is https.
    :param allow_insecure: permit http to hosts other than this one's loopback.
    :param history_url: the whole URL of the request history; the key goes there, too. ``None`` is the vendor's for the
        vendor's own base URL, and none for any other; an empty one is none.
    :raises AuthenticationError: the key is missing or cannot be sent in a header.
    :raises ConfigurationError: a URL is malformed or insecure.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    allow_insecure: bool = False
    history_url: str | None = None

    def __post_init__(self) -> None:
        key = (self.api_key or "").strip()
        if not key:
            raise AuthenticationError("There is no API key")
        if not key.isascii() or not key.isprintable():
            raise AuthenticationError("The API key has characters that no key has; was it copied whole?")
        object.__setattr__(self, "api_key", key)
        base_url = self._checked_url(self.base_url)
        if base_url.endswith(("/v1", "/v2")):
            base_url = base_url[: -len("/v1")]
        object.__setattr__(self, "base_url", base_url)
        history_url = self.history_url
        if history_url is None and base_url == DEFAULT_BASE_URL:
            history_url = DEFAULT_HISTORY_URL
        object.__setattr__(self, "history_url", self._checked_url(history_url) if history_url else None)

    def submit(
        self, request: TextToImageRequest, model: str, before_send: Callable[[], None] | None = None
    ) -> Call[Job]:
        url = f"{self.base_url}/v2/{segment(model)}"
        return Call(
            "POST",
            url,
            jobs.read_submission,
            json=request.payload(),
            is_billable=True,
            rank=Priority.PURCHASE,
            before_send=before_send,
        )

    def generate(self, request: TextToImageRequest, model: str) -> Call[GenerationResult]:
        url = f"{self.base_url}/v1/{segment(model)}"
        return Call(
            "POST",
            url,
            partial(jobs.read_generation, model=model),
            json=request.payload(),
            is_billable=True,
            rank=Priority.PURCHASE,
            max_bytes=MAX_RESULT,
        )

    def status(self, request_id: str) -> Call[JobStatus]:
        read = partial(jobs.read_status, request_id=request_id)
        return Call("GET", f"{self._job_url(request_id)}/status", read, request_id, rank=Priority.LOOK)

    def result(self, request_id: str, model: str | None) -> Call[GenerationResult]:
        read = partial(jobs.read_result, request_id=request_id, model=model)
        return Call("GET", self._job_url(request_id), read, request_id, max_bytes=MAX_RESULT)

    def credits(self) -> Call[Credits]:
        return Call("GET", f"{self.base_url}/v1/get-user-credits", jobs.read_credits)

    def history(self, model: str, since: float, page: int, until: float | None = None) -> Call[list[PastRequest]]:
        # Days are all that can be asked for; one more, because it is not known in which time zone they begin.
        first = datetime.fromtimestamp(since, UTC) - timedelta(days=1)
        params = {"page": page, "per_page": PAGE_SIZE, "model_name": model, "from_date": first.date().isoformat()}
        params |= {"sort_by": "model_created", "sort_order": "desc"}  # reading ends at what is older than is wanted
        if until is not None:
            last = datetime.fromtimestamp(until, UTC) + timedelta(days=1)
            params["to_date"] = min(last, first + _LONGEST_WINDOW).date().isoformat()
        return Call("GET", self._history_url(), read_history, params=params, max_bytes=MAX_HISTORY)

    def past_request(self, request_id: str) -> Call[PastRequest | None]:
        url = f"{self._history_url()}/{id_segment(request_id)}"
        return Call("GET", url, read_past_request, request_id, max_bytes=MAX_HISTORY)

    def read(self, call: Call[T], answer: Response) -> T:
        """Read an answer, less any echo of the API key: in its bytes, in what was parsed, in an error's text."""
        content = answer.content.replace(self.api_key.encode(), MARK.encode())
        try:
            if answer.unread and answer.is_success:
                raise call.unreadable(answer)
            return call.read(replace(answer, content=content, secret=self.api_key))
        except KandinskyError as error:
            error.hide(self.api_key)
            raise

    @property
    def uses_tls(self) -> bool:
        """Whether any of the URLs is https."""
        return any(url is not None and url.startswith("https:") for url in (self.base_url, self.history_url))

    def _history_url(self) -> str:
        if self.history_url is None:
            raise ConfigurationError("The request history cannot be asked: the connection has no history_url")
        return self.history_url

    def _job_url(self, request_id: str) -> str:
        return f"{self.base_url}/v2/requests/{id_segment(request_id)}"

    def _checked_url(self, text: str) -> str:
        text = text.strip()
        try:
            url = httpx.URL(text if "://" in text else f"https://{text}")
            # As the look-up of the host does it, which would fail at each request, and not as an error of httpx.
            url.raw_host.decode().encode("idna")
        except (httpx.InvalidURL, UnicodeError):
            raise ConfigurationError("The base URL or the history URL is not a URL") from None
        shown = f"{url.scheme}://{url.netloc.decode()}{url.path}"
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or any(sign in text for sign in "?#"):
            raise ConfigurationError(f"{shown!r} must be http(s)://host, with a path at most")
        if url.scheme == "http" and not self.allow_insecure and not is_loopback(url.host):
            raise ConfigurationError(
                f"{shown!r} would send the API key unencrypted; use https, or set allow_insecure if you mean it"
            )
        return str(url).rstrip("/")
