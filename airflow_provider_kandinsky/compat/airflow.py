"""What this Airflow can do, detected by capability, never by version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

# Their place since Airflow 3.2, and before.
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

#: What :func:`hitl_operator` needs.
HUMAN_IN_THE_LOOP_MISSING = "Airflow 3.1 and the human-in-the-loop operators of its standard provider, or later ones"

#: What is defined elsewhere, in one Airflow here and in another there.
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
]

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor


def _import(name: str, module: str, before: str) -> Any:
    """Import a name from its module, or in older Airflows from where it was before."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return getattr(import_module(before), name)


def connections_are_read_async() -> bool:
    """Whether an event loop can read all of a connection without blocking: since Airflow 3.3.2.

    ``aget_connection`` is there since 3.1, but reading the extra still masked its secrets by a blocking call.
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
    """Mask a secret in Airflow's logs, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret as amask
    except ImportError:
        from airflow.sdk.log import mask_secret

        # Not asyncio.to_thread: before Airflow 3.2 a triggerer talks to its supervisor in its own event loop only,
        # which threads of asgiref can find. From any other thread, all later responses would be misread.
        await sync_to_async(mask_secret)(secret)
    else:
        await amask(secret)


def task_state_store(context: Context) -> TaskStateStoreAccessor | None:
    """The task state store, which lasts across tries; ``None`` before Airflow 3.3."""
    return context.get("task_state_store")


def policies_can_reschedule() -> bool:
    """Whether a retry policy can reschedule a task without using up a try: since Airflow 3.4."""
    try:
        from airflow.sdk import RetryAction
    except ImportError:  # before Airflow 3.3
        return False
    return hasattr(RetryAction, "RESCHEDULE")


def has_success_listener() -> bool:
    """Whether a listener (such as OpenLineage) is registered for task success; Airflow calls it in workers only."""
    get_listener_manager = _import("get_listener_manager", "airflow.sdk.listener", "airflow.listeners.listener")
    success = getattr(get_listener_manager().hook, "on_task_instance_success", None)
    return success is not None and bool(success.get_hookimpls())


def triggers_can_set_xcom() -> bool:
    """Whether an event loop can write an XCom through the configured backend: since Airflow 3.3."""
    # Imported here, because it loads the XCom backend.
    from airflow.sdk.execution_time.xcom import XCom

    return hasattr(XCom, "aset")


def triggers_can_set_mapped_length() -> bool:
    """Whether an event loop can write an XCom that a downstream task expands over: in Airflow 3.3 only.

    Without the stored length the scheduler expands such a task to no instances. Airflow 3.4 dropped the argument.
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
    """``Stats`` as configured in a task's process."""
    return _import("Stats", "airflow.sdk.observability.stats", "airflow.stats")


def triggerer_stats() -> Any:
    """``Stats`` as configured in the triggerer. Since Airflow 3.2 the SDK's is a separate object that the triggerer
    never configures."""
    return _import("Stats", "airflow.observability.stats", "airflow.stats")


def determine_kwargs(function: Callable[..., Any], args: Collection[Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that a function takes from a task's context."""
    determine = _import("determine_kwargs", "airflow.sdk.bases.decorator", "airflow.utils.operator_helpers")
    return dict(determine(function, args, context))


def supports_plugin_tabs() -> bool:
    """Whether a plugin can have tabs in Airflow's UI: since Airflow 3.1."""
    from airflow.plugins_manager import AirflowPlugin

    return hasattr(AirflowPlugin, "external_views")


def hitl_operator() -> Any:
    """The standard provider's operator that waits for a person, since Airflow 3.1; ``None`` before."""
    from airflow.exceptions import AirflowOptionalProviderFeatureException as Missing

    try:
        return import_module("airflow.providers.standard.operators.hitl").HITLOperator
    except (ImportError, Missing):
        return None


def response_timeout_argument(timeout: timedelta | None) -> dict[str, Any]:
    """For how long :func:`hitl_operator` waits; the argument was ``execution_timeout`` once."""
    knows_it = "response_timeout" in inspect.signature(hitl_operator().__init__).parameters
    return {} if timeout is None else {"response_timeout" if knows_it else "execution_timeout": timeout}


def show_form(**form: Any) -> Any:
    """Have Airflow show the form of a task that waits for a person, as the SDK's ``upsert_hitl_detail``.

    :return: what is shown. Before 3.4 Airflow keeps the first form of a task instance, whatever its later tries ask.
    """
    from airflow.sdk.execution_time import comms, task_runner

    payload = comms.CreateHITLDetailPayload(**form | {"assigned_users": form["assigned_users"] or []})
    return task_runner.SUPERVISOR_COMMS.send(payload)
