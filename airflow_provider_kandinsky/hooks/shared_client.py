"""One client per connection and event loop, for all the triggers that run there.

A client of its own for each of a thousand triggers means a thousand connections and, above all, a thousand rate
limits found out one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller

log = logging.getLogger(__name__)


#: How often a connection that cannot be used is read again, in seconds: all who wait with it share one answer.
_READ_AGAIN_AFTER: Final = 5.0


class _PooledHook:
    """A hook and those who use its client."""

    def __init__(self, kandinsky_conn_id: str) -> None:
        self.users = 0
        self.hook = KandinskyHook(kandinsky_conn_id)
        self._opening = asyncio.Lock()
        self._error: KandinskyError | None = None
        self._read_again_at = 0.0

    async def client(self) -> AsyncSegmindClient:
        """The client, opened by the first to come.

        :raises KandinskyError: the connection cannot be used.
        """
        now = asyncio.get_running_loop().time
        async with self._opening:
            if self._error is not None and now() < self._read_again_at:
                raise self._error
            try:
                return await self.hook.aget_conn()
            except KandinskyError as error:
                self._error, self._read_again_at = error, now() + _READ_AGAIN_AFTER
                raise


_shares: MutableMapping[asyncio.AbstractEventLoop, dict[str, _PooledHook]] = WeakKeyDictionary()


@asynccontextmanager
async def _share_of(kandinsky_conn_id: str) -> AsyncIterator[_PooledHook]:
    shares = _shares.setdefault(asyncio.get_running_loop(), {})
    share = shares.get(kandinsky_conn_id)
    if share is None:
        share = shares[kandinsky_conn_id] = _PooledHook(kandinsky_conn_id)
    share.users += 1
    try:
        yield share
    finally:
        share.users -= 1
        if share.users == 0:
            del shares[kandinsky_conn_id]
            await share.hook.__aexit__()


@asynccontextmanager
async def shared_client(kandinsky_conn_id: str) -> AsyncIterator[AsyncSegmindClient]:
    """Use the client that all users of a connection share; the last one to leave closes it.

    The connection is looked up once, by the first to come.

    :param kandinsky_conn_id: the connection.
    """
    async with _share_of(kandinsky_conn_id) as share:
        yield await share.client()


async def poll_with_shared_client(
    kandinsky_conn_id: str,
    request_id: str,
    model: str | None,
    *,
    submitted_at: float,
    deadline: float,
    poll_interval: float | None = None,
) -> GenerationResult:
    """Wait for a job with the client that all users of a connection share.

    The job was accepted, so a connection that cannot be used now, for instance because it has no key, is waited out
    as well.

    :param kandinsky_conn_id: the connection.
    :param submitted_at: seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    :raises KandinskyError: see :meth:`~.http.client.SegmindClient.poll_until_done`.
    """
    async with _share_of(kandinsky_conn_id) as share:
        poller = JobPoller(request_id, submitted_at=submitted_at, deadline=deadline, poll_interval=poll_interval)
        client, is_logged = None, False
        while client is None:
            try:
                client = await share.client()
            except KandinskyError as error:
                pause = poller.on_error(error, time.time())
                if not is_logged:
                    log.warning("Request %s cannot be polled until its connection can be used: %s", request_id, error)
                is_logged = True
                await asyncio.sleep(pause)
        return await client.poll_until_done(
            request_id, model, submitted_at=submitted_at, deadline=deadline, poll_interval=poll_interval
        )
