"""From an Airflow connection to the service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Self

from airflow_provider_kandinsky.compat.airflow import BaseHook
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings, warn_of_no_history
from airflow_provider_kandinsky.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_kandinsky.hooks.connection_reader import aread_key, aread_settings, read_key, read_settings
from airflow_provider_kandinsky.segmind.constants import WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    KandinskyError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.http.client import AsyncSegmindClient, SegmindClient
from airflow_provider_kandinsky.segmind.http.retry import RetryPolicy
from airflow_provider_kandinsky.segmind.schemas import (
    DEFAULT_MODEL,
    Credits,
    GenerationResult,
    Job,
    JobStatus,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, PollPolicy

Request = TextToImageRequest | Mapping[str, Any]

#: Held while a hook makes its client. Not a hook's own, because a hook has to remain something that can be copied.
_making_client: Final = threading.Lock()


class KandinskyHook(BaseHook):
    """Talk to Segmind with the key of an Airflow connection.

    Every method has an async twin, named with an ``a`` in front, which never blocks the event loop; that of
    :meth:`wait` is :meth:`await_result`, because ``await`` is a word of the language. A request may be given as a
    :class:`~.segmind.schemas.TextToImageRequest` or as a mapping of its parameters.

    Use as a (async) context manager, which closes the connections at the end. The blocking methods may be called from
    several threads at once, the async ones in one event loop.

    :param kandinsky_conn_id: the connection, of type ``kandinsky``: password = API key, else ``SEGMIND_API_KEY`` from
        the environment, which is for the vendor's own host only; host = base URL.
    :param poll_policy: how often jobs are polled, and for how long a 404 may pass.
    """

    conn_name_attr = "kandinsky_conn_id"
    default_conn_name = "kandinsky_default"
    conn_type = "kandinsky"
    hook_name = "Kandinsky (Segmind)"

    def __init__(
        self,
        kandinsky_conn_id: str = default_conn_name,
        *,
        poll_policy: PollPolicy = DEFAULT_POLL_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kandinsky_conn_id = kandinsky_conn_id
        self._poll_policy = poll_policy
        self._settings: ConnectionSettings | None = None
        self._client: SegmindClient | None = None
        self._async_client: AsyncSegmindClient | None = None
        self._opening = asyncio.Lock()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Read by Airflow before 3.3."""
        return field_behaviour()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Read by Airflow before 3.3."""
        return form_widgets()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._async_client is not None:
            await self._async_client.aclose()
            self._async_client = None
            self._opening = asyncio.Lock()  # the next client may be for another event loop

    @property
    def settings(self) -> ConnectionSettings:
        """The connection, read once.

        :raises AuthenticationError: there is no API key, neither in the connection nor in the environment.
        :raises ConfigurationError: there is no such connection, or a field of it cannot be used.
        """
        if self._settings is None:
            self._settings = read_settings(self.kandinsky_conn_id)
        return self._settings

    async def aget_settings(self) -> ConnectionSettings:
        """The async twin of :attr:`settings`."""
        if self._settings is None:
            self._settings = await aread_settings(self.kandinsky_conn_id)
        return self._settings

    def get_conn(self) -> SegmindClient:
        """The blocking client, made on first use."""
        with _making_client:
            if self._client is None:
                again = partial(read_key, self.kandinsky_conn_id, self.settings)
                self._client = SegmindClient(**self._client_options(self.settings), read_key=again)
            return self._client

    async def aget_conn(self) -> AsyncSegmindClient:
        """The async client, made on first use, however many ask for it at once."""
        async with self._opening:
            if self._async_client is None:
                settings = await self.aget_settings()
                again = partial(aread_key, self.kandinsky_conn_id, settings)
                self._async_client = await AsyncSegmindClient.create(**self._client_options(settings), read_key=again)
            return self._async_client

    def _client_options(self, settings: ConnectionSettings) -> dict[str, Any]:
        options = {"api_key", "base_url", "allow_insecure", "request_timeout", "history_url", "requests_per_minute"}
        policies = {"poll_policy": self._poll_policy, "retry_policy": RetryPolicy(settings.retry_timeout)}
        return settings.model_dump(include=options) | policies

    def submit(self, request: Request, model: str = DEFAULT_MODEL, **sending: Any) -> Job:
        """Submit a generation; see :meth:`~.http.client.SegmindClient.submit` for the errors.

        :param model: the model's slug.
        :param sending: ``send_by`` and ``on_send``; see there.
        :return: the accepted job; it will be billed unless it fails.
        """
        client = self.get_conn()
        if not client.has_history:
            warn_of_no_history(self.kandinsky_conn_id)
        return client.submit(_checked(request), model, **sending)

    async def asubmit(self, request: Request, model: str = DEFAULT_MODEL, **sending: Any) -> Job:
        """The async twin of :meth:`submit`."""
        client = await self.aget_conn()
        if not client.has_history:
            warn_of_no_history(self.kandinsky_conn_id)
        return await client.submit(_checked(request), model, **sending)

    def get_status(self, request_id: str) -> JobStatus:
        """Look once at where a job stands; see :meth:`~.http.client.SegmindClient.get_status` for the errors."""
        return self.get_conn().get_status(request_id)

    async def aget_status(self, request_id: str) -> JobStatus:
        """The async twin of :meth:`get_status`."""
        return await (await self.aget_conn()).get_status(request_id)

    def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch what a finished job gave; see :meth:`~.http.client.SegmindClient.get_result` for the errors."""
        return self.get_conn().get_result(request_id, model)

    async def aget_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """The async twin of :meth:`get_result`."""
        return await (await self.aget_conn()).get_result(request_id, model)

    def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Wait until a job is finished; see :meth:`~.http.client.SegmindClient.wait` for the errors.

        :param timeout: seconds from now.
        """
        return self.get_conn().wait(request_id, timeout, model)

    async def await_result(
        self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None
    ) -> GenerationResult:
        """The async twin of :meth:`wait`."""
        return await (await self.aget_conn()).wait(request_id, timeout, model)

    def generate(self, request: Request, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Buy a generation and hold the line until it is there (v1).

        For a notebook or a small script: what gets lost on the way was paid for and cannot be asked for again. See
        :meth:`~.http.client.SegmindClient.generate` for the errors.
        """
        return self.get_conn().generate(_checked(request), model)

    async def agenerate(self, request: Request, model: str = DEFAULT_MODEL) -> GenerationResult:
        """The async twin of :meth:`generate`."""
        return await (await self.aget_conn()).generate(_checked(request), model)

    def get_credits(self) -> Credits:
        """Ask what is left on the account. Free of charge."""
        return self.get_conn().get_credits()

    async def aget_credits(self) -> Credits:
        """The async twin of :meth:`get_credits`."""
        return await (await self.aget_conn()).get_credits()

    def test_connection(self) -> tuple[bool, str]:
        """Try the key by asking for the credits, which is free of charge."""
        try:
            return True, _success_message(self.get_credits())
        except KandinskyError as error:
            return False, _failure_message(error, self._settings)

    async def atest_connection(self) -> tuple[bool, str]:
        """The async twin of :meth:`test_connection`."""
        try:
            return True, _success_message(await self.aget_credits())
        except KandinskyError as error:
            return False, _failure_message(error, self._settings)


def _checked(request: Request) -> TextToImageRequest:
    return request if isinstance(request, TextToImageRequest) else TextToImageRequest(**request)


def _success_message(credits_left: Credits) -> str:
    if credits_left.paid is None:
        return "The API key is good; the service has no record of credits for it"
    amount = f"{credits_left.total:,.4f}".rstrip("0").rstrip(".")
    return f"The API key is good; {amount} credits left"


def _failure_message(error: KandinskyError, settings: ConnectionSettings | None) -> str:
    if isinstance(error, AuthenticationError) and error.http_status is not None:
        return f"The API key is not good: {error.message}"
    if isinstance(error, ServiceUnavailableError) and settings is not None:
        return f"The service is out of reach at {settings.base_url}: {error.message}"
    return error.message
