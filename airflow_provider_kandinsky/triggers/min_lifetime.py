"""How long a trigger must live before it fires an event that resumes its task."""

from __future__ import annotations

import asyncio
from typing import Final

from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger

#: Seconds. The scheduler fails a deferred task that is queued again before it has noticed the exit of the process that
#: deferred (apache/airflow#66374). It may notice late: a supervisor that misses the exit checks again after its
#: heartbeat interval.
MIN_TRIGGER_LIFETIME: Final = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 3.0


async def ensure_min_lifetime(trigger: BaseTrigger, started: float, min_lifetime: float = MIN_TRIGGER_LIFETIME) -> None:
    """Wait until an event may be fired. No wait in ``dag.test()``, which has no scheduler and gives triggers no task
    instance.

    :param started: when the trigger started, by the event loop's clock.
    :param min_lifetime: seconds.
    """
    if trigger.task_instance is not None:
        await asyncio.sleep(started + min_lifetime - asyncio.get_running_loop().time())
