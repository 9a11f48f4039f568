"""The calls of the API. Does no I/O.

Every URL is built here, from the base URL and an id. URLs in responses are ignored, so the API key is sent only to the
connection's own host, and to its ``history_url``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import httpx

from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL, DEFAULT_HISTORY_URL, MEGABYTE
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError
from airflow_provider_kandinsky.segmind.http.call import Call, Priority
from airflow_provider_kandinsky.segmind.http.network import is_loopback
from airflow_provider_kandinsky.segmind.http.url_paths import id_segment, segment
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus
from airflow_provider_kandinsky.segmind.wire import jobs, models
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest, read_history, read_past_request

T = TypeVar("T")

#: The longest period that one call to the history can cover.
_MAX_HISTORY_PERIOD: Final = timedelta(days=31)

#: Where the vendor has its request history and its list of models.
_HISTORY_PATH: Final = "/inference-request/request-history"
_MODELS_PATH: Final = "/inference-model-information/list"

#: The largest body in bytes: of a result, which can hold images, and of a page of the history, which holds prompts.
_MAX_RESULT: Final = 64 * MEGABYTE
_MAX_HISTORY: Final = 16 * MEGABYTE


@dataclass(frozen=True)
class SegmindApi:
    """One account at one service; each method builds a call.

    :param api_key: sent as ``x-api-key``; the service rejects a key that is sent as Bearer.
    :param base_url: scheme and host, perhaps with a path. A trailing ``/v1`` or ``/v2`` (which the vendor's SDK wants)
        is dropped. Without a scheme it is https.
    :param allow_insecure: permit http to hosts other than loopback.
    :param history_url: the whole URL of the request history; the key is sent there, too. ``None`` is the vendor's for
        the vendor's own base URL, and no history for any other. Empty is no history.
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
            raise AuthenticationError("The API key has characters that no key has; was it copied completely?")
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
        self, request: TextToImageRequest, model: str, on_send: Callable[[float], None] | None = None
    ) -> Call[Job]:
        url = f"{self.base_url}/v2/{segment(model)}"
        return _post(url, request, partial(jobs.read_submission, model=model), on_send=on_send)

    def generate(self, request: TextToImageRequest, model: str) -> Call[GenerationResult]:
        url = f"{self.base_url}/v1/{segment(model)}"
        return _post(url, request, partial(jobs.read_generation, model=model), max_bytes=_MAX_RESULT)

    def status(self, request_id: str) -> Call[JobStatus]:
        read = partial(jobs.read_status, request_id=request_id)
        return Call("GET", f"{self._job_url(request_id)}/status", read, request_id, rank=Priority.POLL)

    def result(self, request_id: str, model: str | None) -> Call[GenerationResult]:
        read = partial(jobs.read_result, request_id=request_id, model=model)
        return Call("GET", self._job_url(request_id), read, request_id, max_bytes=_MAX_RESULT)

    def credits(self) -> Call[Credits]:
        return Call("GET", f"{self.base_url}/v1/get-user-credits", jobs.read_credits)

    def models(self) -> Call[list[str]]:
        # The vendor's list is beside its history.
        service = self._history_url().removesuffix(_HISTORY_PATH)
        return Call("GET", f"{service}{_MODELS_PATH}", models.read_models, max_bytes=_MAX_HISTORY)

    def history(self, model: str, since: float, page: int, until: float | None = None) -> Call[list[PastRequest]]:
        # The history takes whole days. One more, because their time zone is not documented.
        first = datetime.fromtimestamp(since, UTC) - timedelta(days=1)
        params = {"page": page, "per_page": PAGE_SIZE, "from_date": first.date().isoformat()}
        if model:
            params["model_name"] = model
        params |= {"sort_by": "model_created", "sort_order": "desc"}  # reading stops at the first row that is too old
        if until is not None:
            last = datetime.fromtimestamp(until, UTC) + timedelta(days=1)
            params["to_date"] = min(last, first + _MAX_HISTORY_PERIOD).date().isoformat()
        return Call("GET", self._history_url(), read_history, params=params, is_history=True, max_bytes=_MAX_HISTORY)

    def past_request(self, request_id: str) -> Call[PastRequest | None]:
        url = f"{self._history_url()}/{id_segment(request_id)}"
        return Call("GET", url, read_past_request, request_id, is_history=True, max_bytes=_MAX_HISTORY)

    @property
    def uses_tls(self) -> bool:
        """Whether any of the URLs is https."""
        return any(url is not None and url.startswith("https:") for url in (self.base_url, self.history_url))

    def _history_url(self) -> str:
        if self.history_url is None:
            raise ConfigurationError("There is no request history: the connection has no history_url")
        return self.history_url

    def _job_url(self, request_id: str) -> str:
        return f"{self.base_url}/v2/requests/{id_segment(request_id)}"

    def _checked_url(self, text: str) -> str:
        text = text.strip()
        try:
            url = httpx.URL(text if "://" in text else f"https://{text}")
            # As name resolution does it, which would fail at each request, and not with an error of httpx.
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


def _post(url: str, request: TextToImageRequest, read: Callable[..., T], **options: Any) -> Call[T]:
    return Call("POST", url, read, json=request.payload(), is_billable=True, rank=Priority.SUBMIT, **options)
