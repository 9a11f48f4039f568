"""One client per connection and event loop, for all the triggers that run there.

A client of its own for each of a thousand triggers means a thousand connections and, above all, a thousand rate
limits found out one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.errors import AuthenticationError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult


@dataclass
class _Share:
    """A hook and those who use its client."""

    hook: KandinskyHook
    users: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


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
        async with share.opening:
            client = await share.hook.aget_conn()
        yield client
    finally:
        share.users -= 1
        if share.users == 0:
            if shares.get(kandinsky_conn_id) is share:
                del shares[kandinsky_conn_id]
            await share.hook.__aexit__()


async def follow_with_shared_client(
    kandinsky_conn_id: str, request_id: str, model: str | None, **cadence: Any
) -> GenerationResult:
    """Wait for a job with the client that all users of a connection share.

    Should its key be refused, it is tried once more with the one that the connection has by then: it may have been
    changed while the job was waited for.

    :param kandinsky_conn_id: the connection.
    :param cadence: see :meth:`~.segmind.async_client.AsyncSegmindClient.follow`, for the errors, too.
    """
    try:
        return await _follow(kandinsky_conn_id, request_id, model, **cadence)
    except AuthenticationError:
        return await _follow(kandinsky_conn_id, request_id, model, **cadence)


async def _follow(kandinsky_conn_id: str, request_id: str, model: str | None, **cadence: Any) -> GenerationResult:
    async with shared_client(kandinsky_conn_id) as client:
        try:
            return await client.follow(request_id, model, **cadence)
        except AuthenticationError:
            retire_shared_client(kandinsky_conn_id, client)
            raise


def retire_shared_client(kandinsky_conn_id: str, client: AsyncSegmindClient) -> None:
    """Have the next to come look up the connection anew, because the service does not accept this client's key.

    Those who use the client go on with it until they leave.
    """
    shares = _shares.get(asyncio.get_running_loop(), {})
    share = shares.get(kandinsky_conn_id)
    if share is not None and share.hook.uses(client):
        del shares[kandinsky_conn_id]
