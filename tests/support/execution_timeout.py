"""Airflow's execution timeout, which runs out when a test says so, however busy the machine is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .airflow_names import TimeoutPosix


@contextmanager
def execution_timeout(is_due: Callable[[], bool]) -> Iterator[None]:
    """Let the block run out of time as soon as ``is_due`` is true; it is asked in another thread.

    :raises AirflowTaskTimeout: in the block, by Airflow's own signal handler.
    """
    is_over = threading.Event()

    def ring() -> None:
        while not is_over.wait(0.02):
            if is_due():
                os.kill(os.getpid(), signal.SIGALRM)
                return

    thread = threading.Thread(target=ring)
    with TimeoutPosix(60):
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
