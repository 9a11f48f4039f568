"""An event loop inside a task that respects Airflow's execution timeout.

Airflow raises that timeout from a signal handler, at whatever line the process is. Inside an event loop that may be a
callback or a background task, where asyncio logs the exception and goes on: the timeout would be lost, and the task
could hang.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class TimeoutAwareRunner:
    """Like :class:`asyncio.Runner`, but on the timeout's signal it first cancels the coroutine, and raises only when
    the loop has stopped. Use as a context manager."""

    def __init__(self) -> None:
        # Never uvloop, which a user may have made the default: it calls no signal handler.
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine until it returns.

        :raises AirflowTaskTimeout: the execution timeout has passed, and the coroutine was cancelled.
        """
        handler = signal.getsignal(signal.SIGALRM)
        if not callable(handler) or threading.current_thread() is not threading.main_thread():
            return self._runner.run(coro)
        timed_out = False

        async def with_timeout() -> T:
            loop, work = asyncio.get_running_loop(), asyncio.ensure_future(coro)

            def on_alarm(*_: object) -> None:
                nonlocal timed_out
                timed_out = True
                loop.call_soon_threadsafe(work.cancel)

            signal.signal(signal.SIGALRM, on_alarm)
            try:
                return await work
            finally:
                signal.signal(signal.SIGALRM, handler)

        try:
            return self._runner.run(with_timeout())
        finally:
            if timed_out:
                handler(signal.SIGALRM, None)
