"""A real Airflow whose parts are killed, beside a sandbox that keeps the bill."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from airflow import __version__ as airflow_version

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from .scoreboard import ROWS, Row

#: This Airflow's scheduler ends itself when it has to fail a try without heartbeats (IntegrityError). A busy machine is
#: not to make it.
DIES_OF_MISSING_HEARTBEATS = airflow_version == "3.4.0b2"

#: A dead worker or triggerer is found out within seconds instead of minutes.
IMPATIENT = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300" if DIES_OF_MISSING_HEARTBEATS else "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    # Airflow's own, which decides how long tasks that resume are held back: whether that is enough is tried here.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
}


class Chaos:
    """A running Airflow, a sandbox, and the means to break the one while the other keeps the bill."""

    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, folder: Path) -> None:
        self.airflow = airflow
        self.sandbox = sandbox
        self.hold = folder / "hold-delivery"
        self._tasks: dict[str, list[dict[str, Any]]] = {}

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout:.0f} s for: {what}"
            time.sleep(0.1)

    def until_fault_strikes(self) -> None:
        """Until the sandbox has met the one fault that was ordered, and holds the answer back."""
        self.until(lambda: not self.sandbox.pending_faults, "the fault to strike")

    def until_workers_rest(self) -> None:
        """Until no worker has anything to do.

        For a moment after its deferral or its end a task's worker stores links and rendered fields. Who changes the
        task just then waits in Airflow's API server for the worker and it for him, as long as SQLite lets them (3.3.2).
        """
        self.until(lambda: not self._busy_workers(), "the workers to be done")

    def kill_worker(self) -> None:
        """Kill -9 of everything that runs a task: the executor's worker process and the task's own below it."""
        doomed = self._busy_workers()
        assert doomed, "no worker is busy"
        for process in doomed:
            process.kill()

    def _busy_workers(self) -> list[psutil.Process]:
        """What runs a task. An idle worker is none: it holds the lock of the executor's queue, and killed it would
        take the whole executor with it."""
        busy = []
        for pid in self.airflow.pids("scheduler"):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                title = " ".join(process.cmdline())
                if "airflow worker" in title and "<idle>" not in title:
                    busy.append(process)
        return busy

    @contextmanager
    def stalled(self, component: str) -> Iterator[None]:
        """Hold a component with all its processes for as long as the block lasts, then let it go on."""
        pids = self.airflow.pids(component)

        def send(number: signal.Signals) -> None:
            for pid in pids:
                os.kill(pid, number)

        def is_held() -> bool:
            send(signal.SIGSTOP)
            # Stopped in the middle of a write to SQLite it would hold up all others, as on no other database.
            with closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=1)) as database:
                try:
                    database.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    send(signal.SIGCONT)
                    return False
            return True

        self.until(is_held, f"the {component} to be held while it does not write")
        try:
            yield
        finally:
            send(signal.SIGCONT)

    def is_delivering(self, dag_id: str, run_id: str) -> bool:
        """Whether the task has pushed what it found and is held before its end."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/paint/xcomEntries"
        return any(entry["key"] == "generation" for entry in self.airflow.api("GET", path)["xcom_entries"])

    def states(self, dag_id: str, run_id: str, task_id: str = "paint") -> list[str | None]:
        return [
            instance["state"]
            for instance in self.airflow.task_instances(dag_id, run_id)
            if instance["task_id"] == task_id
        ]

    def accepted(self, subject: str = "") -> list[dict[str, Any]]:
        """What the sandbox has accepted, and would have billed.

        :param subject: only that whose prompt begins with it.
        """
        return [job for job in self.sandbox.submissions if job["payload"]["prompt"].startswith(subject)]

    def finish(self, fault: str, dag_id: str, *run_ids: str, timeout: float = 240, subject: str = "") -> Row:
        """Wait for the end of the runs that had to live through a fault, count, and put down the row.

        :param subject: what the prompts of these runs begin with, if others are under way.
        """
        states = {run_id: self.airflow.wait_for_run(dag_id, run_id, timeout) for run_id in run_ids}
        painted = [
            (run_id, each)
            for run_id in run_ids
            for each in self.airflow.task_instances(dag_id, run_id)
            if each["task_id"] == "paint"
        ]
        urls = [
            tuple(self.airflow.xcom(dag_id, run_id, "paint", map_index=each["map_index"]))
            for run_id, each in painted
            if each["state"] == "success"
        ]
        row = Row(fault, len(run_ids), len(painted), len(self.accepted(subject)), len(painted) - len(set(urls)))
        ROWS.append(row)
        for run_id, state in states.items():
            assert state == "success", self.logs(dag_id, run_id)
        return row

    def finish_batch(self, fault: str, dag_id: str, run_id: str, items: int = 100, subject: str = "cat") -> None:
        """Wait for the end of a batch, and hold what was paid for against what was delivered.

        :param subject: what its prompts begin with.
        """
        state = self.airflow.wait_for_run(dag_id, run_id, 400)
        assert state == "success", self.logs(dag_id, run_id)
        rows: list[dict[str, Any]] = self.airflow.xcom(dag_id, run_id, "paint")
        prompts = {job["request_id"]: job["payload"]["prompt"] for job in self.accepted(subject)}
        delivered = [prompts[row["request_id"]] for row in rows if row["urls"]]
        ROWS.append(Row(fault, 1, items, len(prompts), items - len(set(delivered))))
        assert delivered == [f"{subject} {number}" for number in range(items)]
        assert len(prompts) == items

    def end_runs(self) -> None:
        """End what a test that failed has left: its retries would be on the next test's bill."""
        runs = self.airflow.api("GET", "/dags/~/dagRuns", params={"state": ["queued", "running"]})["dag_runs"]
        if not runs:
            return
        # First the workers; see :meth:`until_workers_rest`.
        for process in self._busy_workers():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for run in runs:
            path = f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}"
            self.airflow.api("PATCH", path, json={"state": "failed"})
        self.until_workers_rest()

    def logs(self, dag_id: str, run_id: str, task_id: str = "paint", map_index: int | None = None) -> str:
        """What all tries of a task say.

        :param map_index: of a mapped one, this instance; else one that has not succeeded, if there is any.
        """
        instances = [
            each
            for each in self.airflow.task_instances(dag_id, run_id)
            if each["task_id"] == task_id and map_index in (None, each["map_index"])
        ]
        shown = next((each for each in instances if each["state"] != "success"), instances[0])
        return "\n".join(
            self.airflow.task_log(dag_id, run_id, task_id, number, shown["map_index"])
            for number in range(1, shown["try_number"] + 1)
        )
