"""What a newer Airflow can do and an older one cannot, asked for by capability, never by version."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Where a task finds them from Airflow 3.2 on, and before.
try:
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowSensorTimeout,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]  # deprecated there since
        AirflowException,
        AirflowFailException,
        AirflowSensorTimeout,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowTaskTimeout",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "amask_secret",
    "set_xcom",
    "success_is_listened_to",
    "task_state_store",
    "triggers_can_set_xcom",
]

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor


async def amask_secret(secret: str) -> None:
    """Have Airflow hide a secret in everything it logs, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret as amask
    except ImportError:
        from airflow.sdk.log import mask_secret

        await asyncio.to_thread(mask_secret, secret)
    else:
        await amask(secret)


def task_state_store(context: Context) -> TaskStateStoreAccessor | None:
    """What a task instance can keep across its tries; ``None`` before Airflow 3.3."""
    return context.get("task_state_store")


def success_is_listened_to() -> bool:
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


async def set_xcom(key: str, value: Any, **names: Any) -> None:
    """Write an XCom from an event loop; see :func:`triggers_can_set_xcom`.

    :param names: ``dag_id``, ``task_id``, ``run_id``, ``map_index``, and ``_mapped_length`` for a value to expand over.
    """
    from airflow.sdk.execution_time.xcom import XCom

    await XCom.aset(key, value, **names)
