"""An event loop inside a task, which Airflow's execution timeout can end.

Airflow raises that timeout from a signal handler, wherever the process happens to be. Inside an event loop that may be
a callback or a task that nobody waits for, where asyncio logs what is raised and goes on: the timeout would be lost,
and whoever waits for that task would wait for ever.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class TimeoutAwareRunner:
    """As :class:`asyncio.Runner`, but when the alarm goes off it lets the loop come to a halt, and only then has
    Airflow raise. Use as a context manager."""

    def __init__(self) -> None:
        # Of asyncio's own kind: in uvloop, which some make the default, no signal handler is called.
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end.

        :raises AirflowTaskTimeout: the task's execution timeout has come, and the coroutine was cancelled.
        """
        handler = signal.getsignal(signal.SIGALRM)
        if not callable(handler) or threading.current_thread() is not threading.main_thread():
            return self._runner.run(coro)
        has_rung = False

        async def until_alarm() -> T:
            loop, work = asyncio.get_running_loop(), asyncio.ensure_future(coro)

            def ring(*_: object) -> None:
                nonlocal has_rung
                has_rung = True
                loop.call_soon_threadsafe(work.cancel)

            signal.signal(signal.SIGALRM, ring)
            try:
                return await work
            finally:
                signal.signal(signal.SIGALRM, handler)

        try:
            return self._runner.run(until_alarm())
        finally:
            if has_rung:
                handler(signal.SIGALRM, None)
