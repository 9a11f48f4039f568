"""Reads a connection where it is used; and its key again, should that have been changed while jobs are waited for.

These are no methods of the hook, because a client that held its hook would keep it from ever being collected.
"""

from __future__ import annotations

import asyncio

from airflow.sdk.log import mask_secret

from airflow_provider_kandinsky.compat.airflow import BaseHook, aget_connection, amask_secret
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings, connection_errors
from airflow_provider_kandinsky.segmind.errors import ConfigurationError


def read_settings(conn_id: str) -> ConnectionSettings:
    """Read a connection, and have Airflow hide its key in all logs.

    :raises KandinskyError: see :meth:`~.connection.ConnectionSettings.read`.
    """
    with connection_errors(conn_id):
        connection = BaseHook.get_connection(conn_id)
    settings = ConnectionSettings.read(connection, connection.extra_dejson)
    mask_secret(settings.api_key)
    return settings


async def aread_settings(conn_id: str) -> ConnectionSettings:
    """The async twin of :func:`read_settings`."""
    with connection_errors(conn_id):
        connection, extra = await aget_connection(conn_id)
    settings = ConnectionSettings.read(connection, extra)
    await amask_secret(settings.api_key)
    return settings


async def read_key(conn_id: str, before: ConnectionSettings) -> str:
    """Read the key again, for the blocking client, of whose event loop Airflow knows nothing.

    :param before: what the client was made from.
    :raises ConfigurationError: the connection leads to another host by now.
    """
    return _key_for_same_host(await asyncio.to_thread(read_settings, conn_id), before)


async def aread_key(conn_id: str, before: ConnectionSettings) -> str:
    """As :func:`read_key`, in Airflow's own event loop."""
    return _key_for_same_host(await aread_settings(conn_id), before)


def _key_for_same_host(settings: ConnectionSettings, before: ConnectionSettings) -> str:
    if (settings.base_url, settings.history_url) != (before.base_url, before.history_url):
        raise ConfigurationError("The connection leads to another host by now, and its key is for that one")
    return settings.api_key
