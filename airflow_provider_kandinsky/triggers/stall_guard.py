"""Whether this triggerer has been away.

A process that was stopped, or whose machine slept, wakes and goes on as if nothing had been, while another triggerer
has taken its triggers over. Airflow tells it so within seconds, by cancelling them. Until then it is not known whether
what they wait for is still theirs to deliver.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary

from airflow.configuration import conf

#: After how many seconds of silence the other triggerers take one for dead.
_HEALTH_CHECK_THRESHOLD: Final = conf.getfloat("triggerer", "triggerer_health_check_threshold", fallback=30.0)
#: How long Airflow is given to tell a triggerer that wakes what is no longer its own, in seconds.
_REASSIGNMENT_GRACE: Final = 10.0


class StallGuard:
    """What an event loop has slept through, as told by a heartbeat of its own.

    :param given_up_after: seconds of silence after which the others take a triggerer for dead.
    :param news_within: seconds from waking until it has certainly been told.
    :param clock: the wall clock, which goes on while a machine sleeps.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        *,
        given_up_after: float = _HEALTH_CHECK_THRESHOLD,
        news_within: float = _REASSIGNMENT_GRACE,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # Heartbeats are some seconds apart: the last one may have been a while ago when the stall began.
        self._too_long = given_up_after / 2
        self._news_within = news_within
        self._clock = clock
        self._sleep = sleep
        self._beat_at = clock()
        self._woke_at = 0.0

    def heartbeat(self) -> None:
        """Note that the loop runs; after a stall this comes before anything that was waited for can go on."""
        now = self._clock()
        if now - self._beat_at > self._too_long:
            self._woke_at = now
        self._beat_at = now

    async def wait_for_reassignment(self) -> None:
        """Wait until a trigger that is no longer this triggerer's would have been cancelled; without a stall, not at
        all."""
        while (wait := self._woke_at + self._news_within - self._clock()) > 0:
            await self._sleep(wait)


_stalls: MutableMapping[asyncio.AbstractEventLoop, StallGuard] = WeakKeyDictionary()


def stall_guard_of_this_loop() -> StallGuard:
    """The stalls of the running event loop since this was first asked in it."""
    loop = asyncio.get_running_loop()
    if (stalls := _stalls.get(loop)) is None:
        stalls = _stalls[loop] = StallGuard()
        _go_on_beating(stalls)
    return stalls


def _go_on_beating(stalls: StallGuard) -> None:
    stalls.heartbeat()
    # In a context of its own: it outlives the trigger that happened to ask first.
    asyncio.get_running_loop().call_later(1.0, _go_on_beating, stalls, context=Context())
