"""What a newer Airflow can do and an older one cannot, asked for by capability, never by version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

# Where a task finds them from Airflow 3.2 on, and before.
try:
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]  # deprecated there since
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

try:
    from airflow.sdk import BaseHook
except ImportError:  # Airflow 3.0
    from airflow.hooks.base import BaseHook  # type: ignore[attr-defined,no-redef]  # deprecated there since

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "aget_connection",
    "amask_secret",
    "determine_kwargs",
    "get_xcom",
    "has_success_listener",
    "loop_index",
    "policies_can_reschedule",
    "set_xcom",
    "supports_plugin_tabs",
    "task_state_store",
    "task_stats",
    "triggerer_stats",
    "triggers_can_set_mapped_length",
    "triggers_can_set_xcom",
]

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor


def connections_are_read_async() -> bool:
    """Whether a connection can be read in an event loop to its last field: from Airflow 3.3.2 on.

    The ``aget_connection`` of 3.1 came without it: it tells the supervisor what to mask by a call that blocks.
    """
    from airflow.sdk import Connection

    return hasattr(Connection, "aextra_dejson")


async def aget_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Look up a connection without blocking the event loop.

    :return: the connection, and its extra.
    """
    if connections_are_read_async():
        connection = await BaseHook.aget_connection(conn_id)
        return connection, await connection.aextra_dejson()

    def get_connection() -> tuple[Connection, dict[str, Any]]:
        connection = BaseHook.get_connection(conn_id)
        return connection, connection.extra_dejson

    return await sync_to_async(get_connection)()


async def amask_secret(secret: str) -> None:
    """Have Airflow hide a secret in everything it logs, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret as amask
    except ImportError:
        from airflow.sdk.log import mask_secret

        # Not asyncio.to_thread: before Airflow 3.2 a triggerer's channel to its supervisor works in its own loop only,
        # which is found again from threads of asgiref. From any other, every answer after this one would be misread.
        await sync_to_async(mask_secret)(secret)
    else:
        await amask(secret)


def task_state_store(context: Context) -> TaskStateStoreAccessor | None:
    """What a task instance can keep across its tries; ``None`` before Airflow 3.3."""
    return context.get("task_state_store")


def loop_index(context: Context) -> int | None:
    """Which iteration of a task loop (Airflow 3.4) this is, counted from 0; ``None`` outside of loops.

    All iterations share the DAG, the run, the task and the map index.
    """
    loop: Any = context.get("loop")
    return None if loop is None else loop.index


def policies_can_reschedule() -> bool:
    """Whether a retry policy can have a task run again without using up a try: from Airflow 3.4 on."""
    try:
        from airflow.sdk import RetryAction
    except ImportError:  # before Airflow 3.3
        return False
    return hasattr(RetryAction, "RESCHEDULE")


def has_success_listener() -> bool:
    """Whether a listener (OpenLineage, say) is to hear of a task's success, which Airflow tells it in workers only."""
    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:
        get_listener_manager = import_module("airflow.listeners.listener").get_listener_manager
    success = getattr(get_listener_manager().hook, "on_task_instance_success", None)
    return success is not None and bool(success.get_hookimpls())


def triggers_can_set_xcom() -> bool:
    """Whether an XCom can be written from an event loop, through the configured backend: from Airflow 3.3 on."""
    # Imported here, because it loads the XCom backend.
    from airflow.sdk.execution_time.xcom import XCom

    return hasattr(XCom, "aset")


def triggers_can_set_mapped_length() -> bool:
    """Whether an XCom can be written from an event loop for a downstream task to expand over: in Airflow 3.3 only.

    Without its length the scheduler takes such a task for one of no instances. Airflow 3.4 keeps that argument to
    itself.
    """
    from airflow.sdk.execution_time.xcom import XCom

    return triggers_can_set_xcom() and "_mapped_length" in inspect.signature(XCom.aset).parameters


async def get_xcom(key: str, *, dag_id: str, task_id: str, run_id: str, map_index: int) -> Any:
    """Read an XCom in an event loop; see :func:`triggers_can_set_xcom`."""
    from airflow.sdk.execution_time.xcom import XCom

    return await XCom.aget_one(key=key, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)


async def set_xcom(key: str, value: Any, mapped_length: int | None = None, **names: Any) -> None:
    """Write an XCom from an event loop; see :func:`triggers_can_set_xcom`.

    :param mapped_length: how many instances of a task expand over the value; see
        :func:`triggers_can_set_mapped_length`.
    :param names: ``dag_id``, ``task_id``, ``run_id``, ``map_index``.
    """
    from airflow.sdk.execution_time.xcom import XCom

    length = {} if mapped_length is None else {"_mapped_length": mapped_length}
    await XCom.aset(key, value, **names, **length)


def task_stats() -> Any:
    """Airflow's metrics, as they are set up in the process of a task."""
    try:
        from airflow.sdk.observability.stats import Stats
    except ImportError:  # before Airflow 3.2
        return import_module("airflow.stats").Stats
    return Stats


def triggerer_stats() -> Any:
    """Airflow's metrics, as they are set up in the triggerer: since 3.2 its components have a copy of their own, and
    what is told to that of tasks may go nowhere."""
    try:
        from airflow.observability.stats import Stats
    except ImportError:  # before Airflow 3.2
        return import_module("airflow.stats").Stats
    return Stats


def determine_kwargs(function: Callable[..., Any], args: Collection[Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """What of a task's context a function takes by name."""
    try:
        from airflow.sdk.bases.decorator import determine_kwargs as determine
    except ImportError:  # before Airflow 3.2
        determine = import_module("airflow.utils.operator_helpers").determine_kwargs
    return dict(determine(function, args, context))


def supports_plugin_tabs() -> bool:
    """Whether a plugin can have tabs in Airflow's UI: from Airflow 3.1 on."""
    from airflow.plugins_manager import AirflowPlugin

    return hasattr(AirflowPlugin, "external_views")
