"""One client per connection and event loop, for all the triggers that run there.

A client of its own for each of a thousand triggers means a thousand connections and, above all, a thousand rate
limits found out one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.polling import JobPoller
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)


@dataclass
class _Share:
    """A hook and those who use its client."""

    hook: KandinskyHook
    users: int = 0


_shares: MutableMapping[asyncio.AbstractEventLoop, dict[str, _Share]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(kandinsky_conn_id: str) -> AsyncIterator[AsyncSegmindClient]:
    """Use the client that all users of a connection share; the last one to leave closes it.

    The connection is looked up once, by the first to come.

    :param kandinsky_conn_id: the connection.
    """
    shares = _shares.setdefault(asyncio.get_running_loop(), {})
    share = shares.get(kandinsky_conn_id)
    if share is None:
        share = shares[kandinsky_conn_id] = _Share(KandinskyHook(kandinsky_conn_id))
    share.users += 1
    try:
        yield await share.hook.aget_conn()
    finally:
        share.users -= 1
        if share.users == 0:
            del shares[kandinsky_conn_id]
            await share.hook.__aexit__()


async def follow_with_shared_client(
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
    :raises KandinskyError: see :meth:`~.segmind.client.SegmindClient.follow`.
    """
    poller = JobPoller(request_id, submitted_at=submitted_at, deadline=deadline, poll_interval=poll_interval)
    async with AsyncExitStack() as stack:
        client = None
        while client is None:
            try:
                client = await stack.enter_async_context(shared_client(kandinsky_conn_id))
            except KandinskyError as error:
                pause = poller.on_error(error, time.time())
                log.warning("Request %s cannot be polled; trying again in %.0f s: %s", request_id, pause, error)
                await asyncio.sleep(pause)
        return await client.follow(
            request_id, model, submitted_at=submitted_at, deadline=deadline, poll_interval=poll_interval
        )
