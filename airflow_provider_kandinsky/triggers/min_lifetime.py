"""How long a trigger lives at least, before it fires an event that resumes its task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from airflow.configuration import conf

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

#: Seconds. If a deferred task is queued again before the scheduler has heard of the exit of the process that
#: deferred, the scheduler fails it (apache/airflow#66374). It may hear of it late: a supervisor that does not see the
#: exit at once checks again after its heartbeat interval.
MIN_TRIGGER_LIFETIME: Final = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 3.0


async def ensure_min_lifetime(trigger: BaseTrigger, started: float) -> None:
    """Wait until an event may be fired. In ``dag.test()``, which gives triggers no task instance, that is at once:
    there is no scheduler.

    :param started: when the trigger was, by the event loop's clock.
    """
    if trigger.task_instance is not None:
        await asyncio.sleep(started + MIN_TRIGGER_LIFETIME - asyncio.get_running_loop().time())
