"""How long jobs take: seen in this process, to know when the first look at the next one is worth it.

Everything is in seconds since a job's submission.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Final

#: A service gets faster and slower during a day: only so many of the latest jobs count.
_REMEMBERED: Final = 100
#: How many must have been seen before they say anything.
_ENOUGH: Final = 10
#: Looks are planned where this share more of the jobs should have finished: of jobs of 2 to 6 s half are then noticed
#: within 0.3 s, at no more polls than one a second, which is what the vendor's own client makes.
_LOOKS: Final = 10
#: A look that comes a moment too early is wasted, one that comes a moment too late is not.
_MARGIN: Final = 0.05


class CompletionTimes:
    """The latest completion times of one model at one service."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)
        self._sorted: list[float] | None = None

    def add(self, seconds: float) -> None:
        """Take in how long a job took."""
        self._latest.append(seconds)
        self._sorted = None

    def next_look(self, age: float, phase: float) -> float | None:
        """When to look next at a job that is not known to be finished.

        :param age: how old it is.
        :param phase: from 0 up to 1: where in its share of the times a look lies. Each job has its own, so that jobs
            of one moment are not looked at in step.
        :return: the age to look at, above ``age``; ``None`` if too little was seen, or nothing that took so long.
        """
        if len(self._latest) < _ENOUGH:
            return None
        if self._sorted is None:
            self._sorted = sorted(self._latest)
        times = self._sorted
        for look in range(_LOOKS):
            planned = times[int((look + phase) / _LOOKS * len(times))] + _MARGIN
            if planned > age:
                return planned
        return times[-1] + _MARGIN if times[-1] + _MARGIN > age else None


@cache
def completion_times(base_url: str, model: str) -> CompletionTimes:
    """What this process has seen of a model at a service."""
    return CompletionTimes()
