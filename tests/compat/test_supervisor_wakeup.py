"""When the socket that is a task's output closes, its process has ended: Airflow's supervisor checks just then."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_kandinsky.compat.supervisor_wakeup import WakesSupervisor
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

TASKS = (
    KandinskyTextToImageOperator,
    KandinskyTextToImageBatchOperator,
    KandinskyJobSensor,
    KandinskyCreditsSensor,
)
ROOT = Path(__file__).parents[2]
#: What it does needs nothing of Airflow, whose import takes seconds.
TASK = """
import os, sys, types
sys.modules["airflow.sdk"] = types.SimpleNamespace(BaseOperator=object)
from airflow_provider_kandinsky.compat.supervisor_wakeup import wake_supervisor_at_exit
for _ in range(3):  # of each stretch only the first counts
    wake_supervisor_at_exit()
print("done", flush=True)
sys.exit(3)
"""


def run(code: str, **env: str) -> tuple[bytes, int | None]:
    """Run a process whose output is a socket.

    :return: what it wrote, and how it had ended when the socket closed; ``None`` if it had not.
    """
    ours, its = socket.socketpair()
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | env
    with ours, subprocess.Popen([sys.executable, "-c", code], stdout=its, stderr=its, env=environment) as process:
        its.close()
        written = b""
        while piece := ours.recv(4096):
            written += piece
        return written, process.poll()


def test_the_socket_closes_when_the_process_has_ended() -> None:
    for _ in range(4):
        assert run(TASK) == (b"done\n", 3)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_all_tasks_ask_for_it_in_each_of_their_processes(task: type[BaseOperator]) -> None:
    """Airflow calls ``pre_execute`` before ``execute`` and before what resumes."""
    assert task.pre_execute is WakesSupervisor.pre_execute


def test_a_process_that_is_killed_leaves_nothing_behind() -> None:
    code = TASK.replace("sys.exit(3)", "import atexit, signal; atexit._run_exitfuncs(); os.kill(os.getpid(), 9)")
    began = time.monotonic()
    written, exit_code = run(code)
    assert (written, exit_code) == (b"done\n", -9)
    assert time.monotonic() - began < 20


def test_without_the_program_a_task_ends_as_it_would(tmp_path: Path) -> None:
    written, _ = run(TASK, PATH=str(tmp_path))
    assert written == b"done\n"


@pytest.mark.parametrize("output", [subprocess.DEVNULL, subprocess.PIPE], ids=["a file", "a pipe"])
def test_where_there_is_no_supervisor_nothing_is_started(output: int, tmp_path: Path) -> None:
    """A program of that name says that it was."""
    (tmp_path / "sh").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "sh").chmod(0o755)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", TASK], stdout=output, env=env, check=False)
    time.sleep(0.2)
    assert not (tmp_path / "started").exists()
