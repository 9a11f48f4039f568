"""Have Airflow's supervisor see the end of a task's process when it comes.

The supervisor waits for the process by its sockets: when the last one closes, it checks whether the process has ended.
The kernel closes them a moment before it has, so with every fourth or fifth process the supervisor checks too early.
With no socket left to wake it, it then sleeps for ``[workers] min_heartbeat_interval``, 5 s by default, and holds the
worker for so long. Seen with Airflow 3.3.2, for tasks of any operator.

One socket that stays open until the process has certainly ended is all it takes: its end wakes the supervisor again.
"""

from __future__ import annotations

import atexit
import logging
import os
import stat
import sys
from typing import Any

from airflow.sdk import BaseOperator

log = logging.getLogger(__name__)

#: Reads its input to the end, and ends a moment later: a process that ends beside others may be held up on its way out.
_HOLDER = ("sh", "-c", "cat; sleep 0.1")


class WakesSupervisor(BaseOperator):
    """For a task to inherit, before its operator. Airflow calls this in each process of it, resumed ones included."""

    def pre_execute(self, context: Any) -> None:
        wake_supervisor_at_exit()
        super().pre_execute(context)


def wake_supervisor_at_exit() -> None:
    """Hand the socket that is this process's standard output to a process that ends just after this one.

    Does nothing where the output is no socket: then there is no supervisor that waits for it.
    """
    if _is_socket(1):
        atexit.unregister(_hold_output)
        atexit.register(_hold_output)


def _hold_output() -> None:
    # The other end of its input is this process's alone, so it closes when this process ends, however that is.
    reader, _writer = os.pipe()
    try:
        # Nothing else of this environment, which may hold keys, is its business.
        env = {"PATH": os.environ.get("PATH", os.defpath)}
        os.posix_spawnp(_HOLDER[0], _HOLDER, env, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
    except OSError as error:
        log.debug("The supervisor may be late to see the end of this process: no %s: %s", _HOLDER[0], error)
    finally:
        os.close(reader)


def _is_socket(descriptor: int) -> bool:
    try:
        return sys.platform != "win32" and stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False
