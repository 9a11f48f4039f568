"""One client per connection and event loop, for all the triggers that run there.

With a client each, a thousand triggers would open a thousand connections and hit the rate limit a thousand times.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Final, Self
from weakref import WeakKeyDictionary

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller, PollPolicy

log = logging.getLogger(__name__)

#: Seconds between lookups of a connection that cannot be used; all its users share the error in between.
_LOOKUP_INTERVAL: Final = 5.0


class _PooledHook:
    """A hook whose client is shared. As a context it is used once more; the last user closes the client.

    :param pool: where it is, under its connection's id, as long as it is used.
    """

    def __init__(self, pool: dict[str, _PooledHook], kandinsky_conn_id: str, poll_policy: PollPolicy) -> None:
        self._pool = pool
        self._users = 0
        self._hook = KandinskyHook(kandinsky_conn_id, poll_policy=poll_policy)
        self._lock = asyncio.Lock()
        self._error: KandinskyError | None = None
        self._failed_at = 0.0

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._users -= 1
        if self._users == 0:
            del self._pool[self._hook.kandinsky_conn_id]
            await self._hook.__aexit__()

    async def client(self, lookup_interval: float = _LOOKUP_INTERVAL) -> AsyncSegmindClient:
        """The client, created for the first user.

        :param lookup_interval: seconds after a failed lookup during which its error is raised again.
        :raises KandinskyError: the connection cannot be used.
        """
        now = asyncio.get_running_loop().time
        async with self._lock:
            if self._error is not None and now() < self._failed_at + lookup_interval:
                raise self._error
            try:
                return await self._hook.aget_conn()
            except KandinskyError as error:
                self._error, self._failed_at = error, now()
                raise


_pools: MutableMapping[asyncio.AbstractEventLoop, dict[str, _PooledHook]] = WeakKeyDictionary()


def _pooled_hook(kandinsky_conn_id: str, poll_policy: PollPolicy = DEFAULT_POLL_POLICY) -> _PooledHook:
    pool = _pools.setdefault(asyncio.get_running_loop(), {})
    if kandinsky_conn_id not in pool:
        pool[kandinsky_conn_id] = _PooledHook(pool, kandinsky_conn_id, poll_policy)
    return pool[kandinsky_conn_id]


@asynccontextmanager
async def shared_client(kandinsky_conn_id: str) -> AsyncIterator[AsyncSegmindClient]:
    """Use the client that all users of a connection share. The last one to leave closes it.

    The connection is looked up once, for the first user.

    :param kandinsky_conn_id: the connection.
    :raises KandinskyError: the connection cannot be used.
    """
    async with _pooled_hook(kandinsky_conn_id) as pooled:
        yield await pooled.client()


async def poll_with_shared_client(
    kandinsky_conn_id: str,
    request_id: str,
    model: str | None,
    *,
    submitted_at: float,
    deadline: float,
    poll_interval: float | None = None,
    samples: int | None = None,
    poll_policy: PollPolicy = DEFAULT_POLL_POLICY,
    lookup_interval: float = _LOOKUP_INTERVAL,
) -> GenerationResult:
    """Wait for a job with the client that all users of a connection share.

    The job was accepted, so this also waits while the connection cannot be used, for instance because it has no key.

    :param kandinsky_conn_id: the connection.
    :param submitted_at: seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    :param samples: how many images the job makes; see :meth:`~.http.client.SegmindClient.poll_until_done`.
    :param poll_policy: how often jobs are polled; that of a client's first user holds for all.
    :param lookup_interval: seconds between lookups of a connection that cannot be used.
    :raises KandinskyError: see :meth:`~.http.client.SegmindClient.poll_until_done`.
    """
    async with _pooled_hook(kandinsky_conn_id, poll_policy) as pooled:
        poller = JobPoller(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            policy=poll_policy,
        )
        client = await _usable_client(pooled, poller, lookup_interval)
        del poller  # it is not held for the whole wait: thousands may wait
        return await client.poll_until_done(
            request_id,
            model,
            submitted_at=submitted_at,
            deadline=deadline,
            poll_interval=poll_interval,
            samples=samples,
        )


async def _usable_client(pooled: _PooledHook, poller: JobPoller, lookup_interval: float) -> AsyncSegmindClient:
    """The client, as soon as the connection can be used.

    :raises KandinskyError: it cannot until the poller gives up.
    """
    is_logged = False
    while True:
        try:
            return await pooled.client(lookup_interval)
        except KandinskyError as error:
            pause = poller.on_error(error, time.time())
            if not is_logged:
                log.warning(
                    "Request %s cannot be polled until its connection can be used: %s", poller.request_id, error
                )
            is_logged = True
            await asyncio.sleep(pause)
