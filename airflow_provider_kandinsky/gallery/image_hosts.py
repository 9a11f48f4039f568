"""Which hosts a task's images may come from, by its connection as the API server sees it."""

from __future__ import annotations

import logging
from collections.abc import Collection

from airflow_provider_kandinsky.compat.airflow import AirflowNotFoundException, BaseHook
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.constants import IMAGE_HOST
from airflow_provider_kandinsky.segmind.errors import KandinskyError

log = logging.getLogger(__name__)


def find_image_hosts(conn_id: str | None) -> Collection[str]:
    """Find the hosts that images may come from. Blocks.

    The DAG's author names the connection, in a rendered field. That reveals nothing that the author's task cannot read:
    only ``kandinsky`` connections are used, and only their image hosts. So the page's reader needs no right to read
    connections.

    :param conn_id: ``None`` for the default connection.
    :return: the service's own host alone if the API server cannot read the connection, which may be defined in the
        workers' environment only.
    """
    try:
        connection = BaseHook.get_connection(conn_id or KandinskyHook.default_conn_name)
        if connection.conn_type == KandinskyHook.conn_type:
            # The key is not needed, and may be in the workers' environment only.
            return ConnectionSettings.read(connection, connection.extra_dejson, api_key="not needed").all_image_hosts
    except AirflowNotFoundException:
        pass
    except KandinskyError as error:
        log.warning("Only images at %s are shown: %s", IMAGE_HOST, error)
    except Exception as error:  # noqa: BLE001  a backend may fail in any way
        # Without its text, which may contain a secret.
        log.warning(
            "Only images at %s are shown: connection %r cannot be read (%s)",
            IMAGE_HOST,
            conn_id,
            type(error).__name__,
        )
    return {IMAGE_HOST}
