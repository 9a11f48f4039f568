"""What is started for a test or the demo never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from demo.process_session import ProcessSession

# As Airflow's components do: a child in a process group of its own, as the supervisor gives to each task, and one
# in a session of its own, as the bash operator begins.
FAMILY = """
import signal, subprocess, sys, time
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""


def start_family(folder: Path, *arguments: str) -> tuple[ProcessSession, list[int]]:
    session = ProcessSession([sys.executable, "-c", FAMILY, *arguments], folder / "log", os.environ)
    wait_until(lambda: "ready" in session.log_tail())
    pids = session.pids()
    assert len(pids) == 3
    return session, pids


def wait_until(condition: Callable[[], bool], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not within the time given"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_kill_ends_children_in_groups_and_sessions_of_their_own(tmp_path: Path) -> None:
    session, pids = start_family(tmp_path)
    session.kill()
    assert all(is_gone(pid) for pid in pids)
    assert session.pids() == []
    assert session.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("arguments", [[], ["deaf"]])
def test_stop_ends_what_does_not_listen(tmp_path: Path, arguments: list[str]) -> None:
    session, pids = start_family(tmp_path, *arguments)
    session.stop(grace=1)
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, ending: signal.Signals) -> None:
    parent_code = (
        "import os, pathlib, sys, time\n"
        "from demo.process_session import ProcessSession\n"
        "session = ProcessSession([sys.executable, '-c', sys.argv[1]], pathlib.Path(sys.argv[2]), os.environ)\n"
        "while len(session.pids()) < 3: time.sleep(0.05)\n"
        "print(*session.pids(), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", parent_code, FAMILY, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        parent.send_signal(ending)
    wait_until(lambda: all(is_gone(pid) for pid in pids))
