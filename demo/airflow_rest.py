"""The REST calls that drive and inspect an Airflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

Json = dict[str, Any]
FINISHED_RUN_STATES = frozenset({"success", "failed"})


class AirflowRest:
    """A client of Airflow's public REST API.

    :param base_url: where the API server listens, without a path.
    :param login: user name and password; without them, Airflow must treat everybody as an admin.
    """

    def __init__(self, base_url: str, login: tuple[str, str] | None = None) -> None:
        self.base_url = base_url
        self._login = login
        self._http = httpx.Client(base_url=base_url, timeout=120, trust_env=False)
        self._token: str | None = None

    def api(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call the API and return its JSON, logging in first where that is needed.

        :param path: the path below ``/api/v2``.
        :param kwargs: what :meth:`httpx.Client.request` takes.
        """
        response = self._request(method, path, **kwargs)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._token = None
            response = self._request(method, path, **kwargs)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        if self._token is None:
            self._token = self._fetch_token()
        headers = {"Authorization": f"Bearer {self._token}", **kwargs.pop("headers", {})}
        return self._http.request(method, f"/api/v2{path}", headers=headers, **kwargs)

    def _fetch_token(self) -> str:
        if self._login is None:
            response = self._http.get("/auth/token")
        else:
            name, password = self._login
            response = self._http.post("/auth/token", json={"username": name, "password": password})
        token: str = response.raise_for_status().json()["access_token"]
        return token

    def trigger_dag(self, dag_id: str, conf: Json | None = None, *, timeout: float = 60) -> str:
        """Start a run and return its id; waits until the DAG is known, and unpauses it.

        :param conf: the run's configuration.
        :param timeout: seconds to wait for the DAG to be parsed.
        """
        self._wait_until_parsed(dag_id, timeout)
        self.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        # A unique logical date: without one ``{{ ds }}`` is undefined.
        body = {"logical_date": datetime.now(UTC).isoformat(), "conf": conf or {}}
        run_id: str = self.api("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run_id

    def _wait_until_parsed(self, dag_id: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while dag_id not in {dag["dag_id"] for dag in self._pages("/dags", "dags")}:
            errors = [error["stack_trace"] for error in self._pages("/importErrors", "import_errors")]
            if errors:
                raise RuntimeError(
                    f"DAG {dag_id} is not there, and these files cannot be imported:\n" + "\n".join(errors)
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"DAG {dag_id} was not parsed within {timeout:.0f} s")
            time.sleep(0.2)

    def wait_for_run(
        self, dag_id: str, run_id: str, timeout: float = 300, on_progress: Callable[[Json], None] | None = None
    ) -> str:
        """Wait for the end of a run and return its state.

        :param on_progress: called with each task instance whose state has changed.
        """
        deadline = time.monotonic() + timeout
        seen: dict[tuple[str, int], str | None] = {}
        while True:
            state: str = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            is_late = time.monotonic() > deadline
            # After the run's state, so that the last changes of a finished run are reported too; and only if they are
            # used, as reading all tasks slows a large run down.
            for instance in self.task_instances(dag_id, run_id) if on_progress or is_late else ():
                key = (instance["task_id"], instance["map_index"])
                if on_progress and seen.get(key) != instance["state"]:
                    on_progress(instance)
                seen[key] = instance["state"]
            if state in FINISHED_RUN_STATES:
                return state
            if is_late:
                raise TimeoutError(f"run {run_id} of {dag_id} is still {state} after {timeout:.0f} s: {seen}")
            time.sleep(0.5)

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return all task instances of a run, mapped ones included."""
        return list(self._pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of one XCom."""
        path = f"{self._task(dag_id, run_id, task_id)}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try as plain text."""
        path = f"{self._task(dag_id, run_id, task_id)}/logs/{try_number}"
        log = self.api("GET", path, params={"map_index": map_index, "full_content": True})
        return "\n".join(_log_line(entry) for entry in log["content"])

    def clear(self, dag_id: str, run_id: str, task_ids: list[str | tuple[str, int]], **options: Any) -> list[Json]:
        """Clear task instances, as a user's click on Clear does, and return them.

        From Airflow 3.4 on that discards their task state.

        :param options: further fields of the request, such as ``include_downstream``.
        """
        body = {
            "dag_run_id": run_id,
            "task_ids": task_ids,
            "dry_run": False,
            "only_failed": False,
            **options,
        }
        cleared: list[Json] = self.api("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)["task_instances"]
        return cleared

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark one task instance as ``success`` or ``failed``, as a user's click does."""
        path = self._task(dag_id, run_id, task_id) + (f"/{map_index}" if map_index >= 0 else "")
        self.api("PATCH", path, json={"new_state": state})

    def create_connection(self, connection_id: str, conn_type: str, **fields: Any) -> None:
        """Create a connection in the metadata database.

        :param fields: ``host``, ``password``, ``extra`` (a JSON text) and so on.
        """
        self.api("POST", "/connections", json={"connection_id": connection_id, "conn_type": conn_type, **fields})

    def _pages(self, path: str, items: str) -> Iterator[Json]:
        offset = 0
        while True:
            page = self.api("GET", path, params={"limit": 100, "offset": offset})
            yield from page[items]
            offset += len(page[items])
            if not page[items] or offset >= page["total_entries"]:
                return

    @staticmethod
    def _task(dag_id: str, run_id: str, task_id: str) -> str:
        return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"


def _log_line(entry: Json | str) -> str:
    """The whole entry: a traceback, or a leaked secret, can be in any field."""
    if isinstance(entry, str):
        return entry
    known = [str(entry.get(field, "")) for field in ("timestamp", "level", "event")]
    rest = [f"{field}={value}" for field, value in entry.items() if field not in {"timestamp", "level", "event"}]
    return " ".join(known + rest)
