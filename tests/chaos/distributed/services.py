"""PostgreSQL and Redis from Debian's packages: instances of our own, on free ports, in folders that are thrown away."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import redis

from demo.local_airflow import free_port
from demo.process_session import ProcessSession

#: What is run of them.
PROGRAMS = ("initdb", "postgres", "pg_isready", "redis-server")


def find(program: str) -> str | None:
    """Where a program is; Debian keeps those of each version of PostgreSQL off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return shutil.which(program, path=os.pathsep.join([*map(str, reversed(versions)), os.environ["PATH"]]))


class Service(ABC):
    """A server in a session of its own, for as long as the block lasts.

    :param name: what its folder is called by.
    """

    def __init__(self, name: str) -> None:
        self.port = free_port()
        # Not pytest's folder, which nobody but its owner may enter: PostgreSQL does not run as root.
        self.folder = Path(tempfile.mkdtemp(prefix=f"kandinsky-{name}-"))
        self._session: ProcessSession | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.stop()
        shutil.rmtree(self.folder)

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What is run, in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers."""

    def start(self) -> None:
        """Start it, with the data that it has left, and wait until it answers."""
        self._session = ProcessSession(self.command, self.folder / "server.log", os.environ)
        deadline = time.monotonic() + 30
        while not self.is_ready():
            if self._session.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} does not answer:\n{self._session.log_tail()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        assert self._session is not None
        self._session.kill()


class Postgres(Service):
    """An empty PostgreSQL. As root it is run as the user ``postgres``, which Debian's package has made."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._password = secrets.token_urlsafe(16)
        self._data = self.folder / "data"
        password_file = self.folder / "password"
        password_file.write_text(self._password)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        subprocess.run(
            [
                *_as_postgres(),
                _program("initdb"),
                *("--pgdata", self._data, "--username", "airflow", "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
        )

    @property
    def url(self) -> str:
        """As SQLAlchemy wants it."""
        return f"postgresql+psycopg2://airflow:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def command(self) -> list[str]:
        # What a crash of the machine would lose is of no interest here, and costs time on every commit.
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        return [*_as_postgres(), _program("postgres"), "-D", str(self._data), "-p", str(self.port), *options]

    def is_ready(self) -> bool:
        question = [_program("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.run(question, check=False).returncode == 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()


class Redis(Service):
    """A Redis that writes down every change before it says yes: what it has promised outlives a crash."""

    def __init__(self) -> None:
        super().__init__("redis")

    @property
    def url(self) -> str:
        """As Celery wants it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": self.port, "dir": self.folder, "save": ""}
        settings |= {"appendonly": "yes", "appendfsync": "always"}
        options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [_program("redis-server"), *options]

    def is_ready(self) -> bool:
        return self._asked(lambda client: bool(client.ping())) or False

    def cut_connections(self) -> int:
        """Close the connections of all clients, and give how many there were."""
        return (
            self._asked(lambda client: sum(int(client.client_kill_filter(_type=kind)) for kind in ("normal", "pubsub")))
            or 0
        )

    def _asked(self, question: Callable[[redis.Redis], Any]) -> Any:
        with redis.Redis(port=self.port) as client:
            try:
                return question(client)
            except redis.ConnectionError:
                return None


def _program(name: str) -> str:
    found = find(name)
    assert found, f"the suite does not begin without {name}"
    return found


def _as_postgres() -> list[str]:
    """How PostgreSQL is started as root; in place of the command and not above it, so that signals reach it."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
