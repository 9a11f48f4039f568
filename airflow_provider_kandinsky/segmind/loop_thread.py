"""An event loop in a thread of its own, for callers that block.

The caller waits where a signal handler can interrupt it at any moment, which is how Airflow ends a task that has run
for too long; what it waited for is then cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for the threads of a process, until it is closed.

    :param cleanup: what its loop does last.
    """

    def __init__(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        self._cleanup = cleanup
        # Of asyncio's own kind, whatever others have made the default.
        self._loop = asyncio.SelectorEventLoop()
        self._closed = asyncio.Event()
        # A daemon, so that a request under way does not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="kandinsky-client", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it can still run anything; after a fork it cannot in the child."""
        return self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, for a caller in another thread.

        If the wait is interrupted by an exception (a signal handler's), the coroutine is cancelled.

        :raises RuntimeError: this was closed meanwhile, or is called from within its own loop.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("A blocking call cannot be made from within the client's own event loop")
        ended: SimpleQueue[object] = SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.add_done_callback(ended.put)
            # Not future.result(), whose lock is not safe against an exception that is raised by a signal handler.
            ended.get()
            return future.result()
        except CancelledError:
            raise RuntimeError(
                "The client was closed during the call; what it had sent may have been accepted"
            ) from None
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # it holds the exception, whose traceback holds this frame

    def close(self) -> None:
        """Cancel what still runs, clean up, and wait until the thread has ended."""
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
