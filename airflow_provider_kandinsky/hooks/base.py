"""An Airflow connection in, clients out: what the parts of the hook share."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any, Final, Self

from airflow_provider_kandinsky.compat.airflow import BaseHook
from airflow_provider_kandinsky.hooks.connection import (
    ConnectionSettings,
    aread_settings,
    areread_key,
    read_settings,
    reread_key,
)
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.http.client import SegmindClient
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, PollPolicy

DEFAULT_CONN_ID: Final = "kandinsky_default"
#: Held while a hook creates its blocking client. Global, because a hook with a lock of its own cannot be copied.
_client_lock: Final = threading.Lock()


class ClientHook(BaseHook):
    """A hook with a blocking client and an async one.

    :param kandinsky_conn_id: the connection.
    :param poll_policy: how often jobs are polled, and for how long a 404 may pass.
    """

    def __init__(
        self,
        kandinsky_conn_id: str = DEFAULT_CONN_ID,
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
        self._async_client_lock = asyncio.Lock()

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
            self._async_client_lock = asyncio.Lock()  # the next client may be for another event loop

    @property
    def settings(self) -> ConnectionSettings:
        """The connection, read once.

        :raises AuthenticationError: there is no API key in the connection or in the environment.
        :raises ConfigurationError: the connection does not exist, or a field is invalid.
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
        """The blocking client, created on first use."""
        with _client_lock:
            if self._client is None:
                read_key = partial(reread_key, self.kandinsky_conn_id, self.settings)
                self._client = SegmindClient(**self._client_options(self.settings), read_key=read_key)
            return self._client

    async def aget_conn(self) -> AsyncSegmindClient:
        """The async client, created on first use and only once, also for concurrent callers."""
        async with self._async_client_lock:
            if self._async_client is None:
                settings = await self.aget_settings()
                read_key = partial(areread_key, self.kandinsky_conn_id, settings)
                options = self._client_options(settings)
                self._async_client = await AsyncSegmindClient.create(**options, read_key=read_key)
            return self._async_client

    def _client_options(self, settings: ConnectionSettings) -> dict[str, Any]:
        options = {"api_key", "base_url", "allow_insecure", "request_timeout", "history_url", "requests_per_minute"}
        policies = {"poll_policy": self._poll_policy, "retry_policy": settings.retry_policy}
        return settings.model_dump(include=options) | policies
