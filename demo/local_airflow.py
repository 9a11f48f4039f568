"""A real Airflow on this machine: each component in its own process, so that tests can kill and restart it."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from cryptography.fernet import Fernet

from demo.airflow_rest import AirflowRest
from demo.process_session import ProcessSession

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

# The rows by which the components report to the metadata database; the API server writes none.
JOB_TYPES = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}


class LocalAirflow(AirflowRest):
    """Airflow, bound to loopback, for one AIRFLOW_HOME; on SQLite with the LocalExecutor by default.

    :param home: the AIRFLOW_HOME; the database, the logs and the keys stay there.
    :param components: what it is made of, by name; the second of a kind has a number, as in ``triggerer-2``.
    :param dags_folder: where the DAG files are; ``home/dags`` unless given.
    :param parallelism: how many tasks run at a time; each has its worker process.
    :param env: further environment variables of all components, such as ``AIRFLOW_CONN_KANDINSKY_DEFAULT`` or any
        ``AIRFLOW__SECTION__KEY``.
    :param executor: what runs the tasks.
    :param database: the URL of an empty metadata database; a SQLite file in the home unless given.
    :param users: the role of each user by name, ``""`` for none; their passwords are in :attr:`passwords`. The first
        one makes the calls of this object. Without users everybody is let in as an admin.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags_folder: Path | None = None,
        parallelism: int = 8,
        env: Mapping[str, str] | None = None,
        components: Sequence[str] = COMPONENTS,
        executor: str = "LocalExecutor",
        database: str | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.resolve()
        self.dags_folder = (dags_folder or self.home / "dags").resolve()
        self.port = free_port()
        self.passwords = {name: secrets.token_urlsafe(16) for name in users or ()}
        super().__init__(f"http://127.0.0.1:{self.port}", next(iter(self.passwords.items()), None))
        self._components = components
        self._database = database
        self._sessions: dict[str, ProcessSession] = {}
        self._started_at: dict[str, datetime] = {}
        for folder in (self.home / "logs", self.dags_folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.env = self._environment(parallelism, executor) | self._who_may_log_in(users or {}) | dict(env or {})

    def __enter__(self) -> Self:
        try:
            self._create_database()
            self.start(*self._components)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *components: str, timeout: float = 180) -> None:
        """Start components and wait until each is ready.

        :param components: their names.
        :param timeout: seconds to wait for all of them.
        """
        for component in components:
            if component in self._sessions and self._sessions[component].pids():
                raise RuntimeError(f"the {component} is running already")
            self._started_at[component] = datetime.now(UTC)
            self._sessions[component] = ProcessSession(
                _airflow(*self._arguments(component)), self.log_file(component), self.env
            )
        self._wait_until_ready(components, timeout)

    def kill(self, component: str) -> None:
        """Kill a component with everything it started, as a crash of its machine would."""
        self._sessions[component].kill()

    def stop(self, grace: float = 5.0) -> None:
        """Terminate all components together, then kill what is left.

        :param grace: seconds to wait, for all of them together.
        """
        for session in self._sessions.values():
            session.terminate()
        deadline = time.monotonic() + grace
        for session in self._sessions.values():
            session.stop(max(0.0, deadline - time.monotonic()))

    def pids(self, component: str) -> list[int]:
        """Return the pids of a component and of everything it started."""
        return self._sessions[component].pids()

    def log_file(self, component: str) -> Path:
        """Return where a component's own output goes; task logs are in ``home/logs`` too, in folders by DAG."""
        return self.home / "logs" / f"{component}.log"

    def command(self, *arguments: str) -> str:
        """Run an ``airflow`` command against this home and return its output."""
        done = subprocess.run(_airflow(*arguments), env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def _arguments(self, component: str) -> list[str]:
        kind = _kind(component)
        if kind == "api-server":
            return [kind, "--host", "127.0.0.1"]
        # Without log servers: all logs lie in this home, where the API server reads them itself.
        return [kind, "--skip-serve-logs"] if kind in ("scheduler", "triggerer") else [kind]

    def _create_database(self) -> None:
        if self._database or not (self.home / "airflow.db").exists():
            self.command("db", "migrate")

    def _wait_until_ready(self, components: Sequence[str], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        waiting = list(components)
        while waiting := [component for component in waiting if not self._is_ready(component)]:
            for component in waiting:
                session = self._sessions[component]
                if session.exit_code is not None:
                    raise RuntimeError(f"the {component} ended with {session.exit_code}:\n{session.log_tail()}")
            if time.monotonic() > deadline:
                tails = "\n".join(self._sessions[component].log_tail() for component in waiting)
                raise TimeoutError(f"not ready after {timeout:.0f} s: {', '.join(waiting)}\n{tails}")
            time.sleep(0.1)

    def _is_ready(self, component: str) -> bool:
        kind = _kind(component)
        try:
            if kind == "api-server":
                return self._http.get("/api/v2/version").is_success
            jobs = self.api("GET", "/jobs", params={"job_type": JOB_TYPES[kind], "order_by": "-start_date"})
        except httpx.TransportError:
            return False
        # By its job row: for half a minute after a crash the health page still counts the dead one's heartbeat. A row
        # does not name its component, so there must be as many new rows as components started since.
        started_at = self._started_at[component]
        starts = [datetime.fromisoformat(job["start_date"]) for job in jobs["jobs"]]
        siblings = [at for name, at in self._started_at.items() if _kind(name) == kind and at >= started_at]
        return sum(start > started_at for start in starts) >= len(siblings)

    def _environment(self, parallelism: int, executor: str) -> dict[str, str]:
        """The whole environment, without the user's own Airflow settings and Segmind key."""
        config = self.home / "airflow.cfg"
        if not config.exists():
            config.write_text("# All settings come from the environment.\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SEGMIND"))}
        settings = {
            "core": {
                "dags_folder": str(self.dags_folder),
                "executor": executor,
                "parallelism": str(parallelism),
                "max_active_tasks_per_dag": "1000",
                "load_examples": "False",
                "fernet_key": self._kept_secret("fernet_key", Fernet.generate_key().decode()),
                "execution_api_server_url": f"{self.base_url}/execution/",
                "hostname_callable": "socket.gethostname",
                "min_serialized_dag_update_interval": "0",
            },
            "api": {
                "host": "127.0.0.1",
                "port": str(self.port),
                "base_url": self.base_url,
                "workers": "1",
                "secret_key": self._kept_secret("secret_key", secrets.token_urlsafe(32)),
                # Airflow 3.0 deserializes XComs only with this; later releases always do.
                "enable_xcom_deserialize_support": "True",
            },
            "api_auth": {"jwt_secret": self._kept_secret("jwt_secret", secrets.token_urlsafe(64))},
            # SQLite has one writer at a time; the others wait for it for a minute instead of five seconds.
            "database": {"sql_alchemy_conn": self._database or f"sqlite:///{self.home}/airflow.db?timeout=60"},
            "scheduler": {
                "scheduler_idle_sleep_time": "0.2",
                "scheduler_heartbeat_sec": "1",
                # No scheduled runs: unpausing a daily DAG would submit its images a second time.
                "use_job_schedule": "False",
            },
            # New and changed files are parsed within a second; parsing unchanged ones again would cost a process.
            "dag_processor": {"refresh_interval": "1", "bundle_refresh_check_interval": "1"},
            # The minimum lifetime of triggers that resume in a worker is 3 s more than this; Airflow's default is 5 s.
            "workers": {"min_heartbeat_interval": "1"},
            "triggerer": {"job_heartbeat_sec": "1", "triggerer_health_check_threshold": "15"},
        }
        return inherited | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONFIG": str(config),
            "PYTHONUNBUFFERED": "1",
            **{f"AIRFLOW__{s.upper()}__{k.upper()}": v for s, options in settings.items() for k, v in options.items()},
        }

    def _who_may_log_in(self, roles: Mapping[str, str]) -> dict[str, str]:
        if not roles:
            return {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True"}
        passwords = self.home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps(self.passwords))
        return {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in roles.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }

    def _kept_secret(self, name: str, fresh: str) -> str:
        """Return this home's secret, created on first use, so that connections in an old database stay readable."""
        file = self.home / f"{name}.secret"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(fresh)
        return file.read_text()


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _kind(component: str) -> str:
    return re.sub(r"-\d+$", "", component)


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
