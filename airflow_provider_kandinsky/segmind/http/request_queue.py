"""A priority lock: decides which request of a client is sent next, where several wait.

Where both wait, every fourth request is a submission: each job costs one submission, one result and about two polls,
so neither kind starves the other. Otherwise results go before polls; within a priority, first come, first served.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from airflow_provider_kandinsky.segmind.http.call import Priority

#: How many polls and results go before the next submission, where both wait.
_POLLS_PER_SUBMIT: Final = 3


class RequestQueue:
    """A lock for one request after another."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[Priority, list[tuple[int, asyncio.Future[None]]]] = {rank: [] for rank in Priority}
        self._numbers = count()
        self._since_submit = _POLLS_PER_SUBMIT

    @property
    def is_free(self) -> bool:
        """Whether nobody has a turn, or waits for one."""
        return not self._taken

    def has_waiting(self, rank: Priority) -> bool:
        """Whether requests of a priority wait for a turn."""
        return bool(self._waiting[rank])

    def number(self) -> int:
        """Draw a number. Within a priority, the lowest goes first."""
        return next(self._numbers)

    @asynccontextmanager
    async def turn(self, rank: Priority, number: int) -> AsyncIterator[None]:
        """Wait for a turn, and hold it.

        :param number: see :meth:`number`; a request that queues again with the same one keeps its place.
        """
        if self._taken:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting[rank], (number, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._taken = True
        self._since_submit = 0 if rank is Priority.SUBMIT else self._since_submit + 1
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while ranks := [rank for rank in self._order() if self._waiting[rank]]:
            turn = heapq.heappop(self._waiting[ranks[0]])[1]
            if not turn.done():
                turn.set_result(None)  # the lock stays taken, so that no newcomer goes first
                return
        self._taken = False

    def _order(self) -> tuple[Priority, ...]:
        if self._since_submit >= _POLLS_PER_SUBMIT:
            return Priority.SUBMIT, Priority.RESULT, Priority.POLL
        return Priority.RESULT, Priority.POLL, Priority.SUBMIT
