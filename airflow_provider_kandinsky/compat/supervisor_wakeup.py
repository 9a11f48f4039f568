"""Lets Airflow's supervisor notice the exit of a task's process without delay.

The supervisor watches the process's sockets: when the last one closes, it checks whether the process has exited. The
kernel closes them shortly before the exit, so for every fourth or fifth process the supervisor checks too early. With
no socket left to wake it, it then sleeps for ``[workers] min_heartbeat_interval``, 5 s by default, and holds the worker
for that long. Seen with Airflow 3.3.2, for tasks of any operator.

The workaround: one socket that stays open until the process has exited; when it closes, the supervisor checks again.
"""

from __future__ import annotations

import atexit
import logging
import os
import stat
from contextlib import suppress
from typing import Any

from airflow.sdk import BaseOperator

log = logging.getLogger(__name__)

#: Reads its input to the end, and exits a moment later, because a process may be slow to exit beside others.
_HOLDER = ("sh", "-c", "read line; exec sleep 0.1")


class WakesSupervisor(BaseOperator):
    """A task whose exit the supervisor notices. Airflow calls ``pre_execute`` in each process of it, also on resume."""

    def pre_execute(self, context: Any) -> None:
        wake_supervisor_at_exit()
        super().pre_execute(context)


def wake_supervisor_at_exit() -> None:
    """Hand the socket that is this process's standard output to a process that exits just after this one.

    Does nothing if the output is not a socket: then there is no supervisor.
    """
    with suppress(OSError):  # it is closed
        if stat.S_ISSOCK(os.fstat(1).st_mode):
            atexit.unregister(_hold_output)
            atexit.register(_hold_output)


def _hold_output() -> None:
    # Only this process has the writing end, so it closes when this process exits, for whatever reason.
    reader, _writer = os.pipe()
    try:
        # Not the rest of the environment, which may hold keys.
        env = {"PATH": os.environ.get("PATH", os.defpath)}
        os.posix_spawnp(_HOLDER[0], _HOLDER, env, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
    except OSError as error:
        log.debug("The supervisor may notice the exit of this process late: could not start %s: %s", _HOLDER[0], error)
    finally:
        os.close(reader)
