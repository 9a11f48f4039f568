"""Which hosts the images of a task may come from, asked of its connection in the API server."""

from __future__ import annotations

import logging
from collections.abc import Collection

from airflow_provider_kandinsky.compat.airflow import AirflowNotFoundException, BaseHook
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.constants import IMAGE_HOST
from airflow_provider_kandinsky.segmind.errors import KandinskyError

log = logging.getLogger(__name__)


def find_hosts(conn_id: str | None) -> Collection[str]:
    """The hosts that images may come from. Blocks.

    Which connection a task uses is in its rendered fields, which its author decides on. That gives the author no
    more than the task has: of the connection, nothing is used but the answer whether a host is among these, and only
    for one of type ``kandinsky``. So the reader needs no right to read connections.

    :param conn_id: the default connection if it is not known.
    :return: the service's own host alone, where the API server knows no such connection (one that only the workers'
        environment has, for example) or cannot read it.
    """
    try:
        connection = BaseHook.get_connection(conn_id or KandinskyHook.default_conn_name)
        if connection.conn_type != KandinskyHook.conn_type:
            return {IMAGE_HOST}
        # The key is not needed, and may be known to the workers only.
        settings = ConnectionSettings.read(connection, connection.extra_dejson, api_key="not needed")
    except AirflowNotFoundException:
        return {IMAGE_HOST}
    except KandinskyError as error:
        log.warning("Only pictures at %s are shown: %s", IMAGE_HOST, error)
        return {IMAGE_HOST}
    except Exception as error:  # noqa: BLE001  a backend may fail in any way
        # Its text is left out, for it may hold what is secret.
        log.warning(
            "Only pictures at %s are shown: connection %r cannot be read (%s)",
            IMAGE_HOST,
            conn_id,
            type(error).__name__,
        )
        return {IMAGE_HOST}
    return settings.all_image_hosts
