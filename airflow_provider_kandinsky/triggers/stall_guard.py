"""Detects that this triggerer has stalled, and may have lost its triggers to another one.

A process that was stopped, or whose machine slept, goes on after it as if nothing had happened, while another
triggerer has taken over its triggers. Airflow cancels those within seconds. Until then this triggerer cannot know
which results are still its own to deliver: the other one may have delivered them already, and a user may have cleared
the task since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary

from airflow.configuration import conf

#: Other triggerers take over the triggers of one that has not been heard of for so many seconds.
_HEALTH_CHECK_THRESHOLD: Final = conf.getfloat("triggerer", "triggerer_health_check_threshold", fallback=30.0)
#: For so many seconds after a stall, Airflow may not have cancelled what was taken over.
_REASSIGNMENT_GRACE: Final = 10.0


class StallGuard:
    """Detects event-loop stalls from the gaps between one-second heartbeats.

    :param health_check_threshold: after so many seconds of silence, other triggerers take over.
    :param reassignment_grace: for so many seconds after a stall, reassigned triggers may not be cancelled yet.
    :param clock: wall clock, which goes on while a machine sleeps.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        *,
        health_check_threshold: float = _HEALTH_CHECK_THRESHOLD,
        reassignment_grace: float = _REASSIGNMENT_GRACE,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # Airflow's own heartbeats are seconds apart, so the last one may have come some time before the stall.
        self._longest_gap = health_check_threshold / 2
        self._reassignment_grace = reassignment_grace
        self._clock = clock
        self._sleep = sleep
        self._last_heartbeat = clock()
        self._stall_ended_at = 0.0

    def start(self) -> None:
        """Send the running event loop a heartbeat each second, for as long as it runs.

        After a stall the heartbeat comes before anything that was awaited can go on.
        """
        self.heartbeat()
        # In an empty context: it outlives the trigger that started it.
        asyncio.get_running_loop().call_later(1.0, self.start, context=Context())

    def heartbeat(self) -> None:
        """Note that the event loop runs."""
        now = self._clock()
        if now - self._last_heartbeat > self._longest_gap:
            self._stall_ended_at = now
        self._last_heartbeat = now

    async def wait_for_reassignment(self) -> None:
        """After a stall, wait long enough for Airflow to cancel reassigned triggers. Returns at once otherwise."""
        while (wait := self._stall_ended_at + self._reassignment_grace - self._clock()) > 0:
            await self._sleep(wait)


_guards: MutableMapping[asyncio.AbstractEventLoop, StallGuard] = WeakKeyDictionary()


def stall_guard_of_this_loop(new: Callable[[], StallGuard] = StallGuard) -> StallGuard:
    """The guard of the running event loop; started by the first call in that loop.

    :param new: makes the guard, if there is none yet.
    """
    loop = asyncio.get_running_loop()
    if (guard := _guards.get(loop)) is None:
        guard = _guards[loop] = new()
        guard.start()
    return guard
