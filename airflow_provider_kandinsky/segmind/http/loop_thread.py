"""An event loop in a thread of its own, for callers that block.

A signal handler can interrupt the waiting caller at any moment, which is how Airflow ends a task that exceeds its
execution_timeout. The coroutine is then cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

#: How often a waiting caller checks that the thread is alive, in seconds.
_CHECK_INTERVAL: Final = 5.0


class _Call(Generic[T]):
    """A coroutine to run in the loop. Only the loop's thread starts and cancels it, so an exception in the caller's
    thread can never leave it running."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._is_cancelled = False
        #: Its task, once that has ended. An exception from a signal handler may interrupt its get(); locks do not
        #: survive that.
        self.ended: SimpleQueue[asyncio.Task[T]] = SimpleQueue()

    def start(self) -> None:
        if self._is_cancelled:
            self._work.close()
            return
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self.ended.put)

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()


class LoopThread:
    """Runs coroutines for the threads of a process, until it is closed.

    :param cleanup: awaited in the loop at the end.
    """

    def __init__(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        self._cleanup = cleanup
        # asyncio's own, whatever event loop policy is set.
        self._loop = asyncio.SelectorEventLoop()
        self._closed = asyncio.Event()
        # A daemon, so that a request in flight does not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="kandinsky-client", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it can still run coroutines; not in the child of a fork."""
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, for a caller in another thread.

        If the wait is interrupted by an exception (a signal handler's), the coroutine is cancelled.

        :raises RuntimeError: it was closed during the call, or is called from within its own loop.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("A blocking call cannot be made from within the client's own event loop")
        call, task, is_alive = _Call(work), None, True
        try:
            self._loop.call_soon_threadsafe(call.start)
            while task is None and is_alive:
                is_alive = self._thread.is_alive()  # checked first: the thread may finish the call last
                with suppress(Empty):
                    task = call.ended.get(timeout=_CHECK_INTERVAL)
        except BaseException:
            with suppress(RuntimeError):  # the loop is closed and runs nothing
                self._loop.call_soon_threadsafe(call.cancel)
            raise
        try:
            if task is not None:
                return task.result()
        except asyncio.CancelledError:
            pass
        finally:
            del call, task  # they hold the exception, whose traceback holds this frame
        raise RuntimeError("The client was closed during the call; a submission in it may have been accepted")

    def close(self) -> None:
        """Cancel what still runs, clean up, and wait until the thread ends."""
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """As :meth:`close`, without waiting."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closed.set)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closed.wait()
        await self._cleanup()
