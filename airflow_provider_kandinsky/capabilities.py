"""What a newer Airflow can do and an older one cannot, asked for by capability, never by version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
