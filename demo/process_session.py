"""Processes that leave nothing behind: not after a stop, not after a kill, not when their parent is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil


def members(session_id: int) -> list[psutil.Process]:
    """Return the living processes of a session and all their descendants.

    The session and not the process group, because Airflow gives every task a group of its own; the descendants
    too, because some tasks (bash) even begin a session. Read again each time: orphans keep their session.

    :param session_id: the pid of the process that began the session.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session_id:
                found |= {member.pid: member for member in (process, *process.children(recursive=True))}
    return [process for process in found.values() if _is_alive(process)]


def kill(session_id: int, others: Sequence[psutil.Process] = ()) -> None:
    """Kill a session, repeatedly until it is empty, as a process may fork while it is being killed.

    :param others: processes known to have belonged to it, which may since have lost their parent.
    """
    while alive := [*members(session_id), *filter(_is_alive, others)]:
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def _is_alive(process: psutil.Process) -> bool:
    """Zombies do not count: in a container without an init process they may never be reaped."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class ProcessSession:
    """One command in a session of its own, with everything it starts.

    :param command: what to run.
    :param log: where its output goes; appended to, so that a restart does not hide what came before.
    :param env: the whole environment.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        self._members_when_asked: list[psutil.Process] = []
        with log.open("ab") as output:
            self._leader = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        _Reaper.send(f"+{self._leader.pid}")

    def pids(self) -> list[int]:
        """Return the pids of all living processes, the leader's first."""
        return sorted(process.pid for process in members(self._leader.pid))

    @property
    def exit_code(self) -> int | None:
        """How the leader ended; None while it lives."""
        return self._leader.poll()

    def wait(self, timeout: float) -> int:
        """Wait for the leader to end by itself, and return how.

        :param timeout: seconds, after which it is a :exc:`subprocess.TimeoutExpired`.
        """
        return self._leader.wait(timeout)

    def terminate(self) -> None:
        """Ask the leader to end, once. Airflow's own components then end their children."""
        if self.exit_code is None and not self._members_when_asked:
            # Listed now: once the leader is gone, a child with its own session can no longer be found.
            self._members_when_asked = members(self._leader.pid)
            self._leader.terminate()

    def stop(self, grace: float = 5.0) -> None:
        """Ask, wait, then kill what is left.

        :param grace: seconds to wait.
        """
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._leader.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Kill all processes, without a chance to clean up."""
        kill(self._leader.pid, self._members_when_asked)
        self._leader.wait()
        _Reaper.send(f"-{self._leader.pid}")

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class _Reaper:
    """A process that outlives this one, to end the sessions this one could not end itself.

    It reads session ids from a pipe. However this process dies, SIGKILL included, the pipe closes.
    """

    _pipe: IO[str] | None = None

    @classmethod
    def send(cls, message: str) -> None:
        if cls._pipe is None:
            reaper = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
            )
            cls._pipe = reaper.stdin
        assert cls._pipe is not None
        cls._pipe.write(message + "\n")


def _reap() -> None:
    """Be the reaper: note the sessions begun and ended, and kill the rest when the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session_id = int(line[1:])
        (sessions.add if line[0] == "+" else sessions.discard)(session_id)
    deadline = time.monotonic() + 30
    while sessions and time.monotonic() < deadline:
        kill(sessions.pop())


if __name__ == "__main__":
    _reap()
