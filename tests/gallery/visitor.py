"""A user who has logged in, or not, and asks for pages as a browser does."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import httpx

from airflow_provider_kandinsky.segmind.constants import IDLE_CONNECTION_LIFETIME
from demo.local_airflow import LocalAirflow


@dataclass
class Visitor:
    http: httpx.Client

    def get(self, dag_id: str, run_id: str, *path: object, **params: object) -> httpx.Response:
        """Ask for something of a run."""
        parts = "/".join(quote(str(part), safe="") for part in path)
        run = f"/kandinsky-gallery/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"
        return self.http.get(f"{run}/{parts}" if parts else run, params=params)

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: object = "{MAP_INDEX}", **params: object) -> str:
        """The page of a task, which is to be there."""
        answer = self.get(dag_id, run_id, "tasks", task_id, map_index, **params)
        assert answer.status_code == 200, answer.text
        return answer.text


def visitor(airflow: LocalAirflow, user: str | None) -> Visitor:
    """The cookie is the one that the UI has."""
    cookies = {}
    if user:
        login = {"username": user, "password": airflow.passwords[user]}
        answer = httpx.post(f"{airflow.base_url}/auth/token", json=login, trust_env=False).raise_for_status()
        cookies["_token"] = answer.json()["access_token"]
    elif not airflow.passwords:
        # Everybody is let in there.
        answer = httpx.get(f"{airflow.base_url}/auth/token", trust_env=False).raise_for_status()
        cookies["_token"] = answer.json()["access_token"]
    limits = httpx.Limits(keepalive_expiry=IDLE_CONNECTION_LIFETIME)
    return Visitor(
        httpx.Client(base_url=airflow.base_url, cookies=cookies, timeout=120, trust_env=False, limits=limits)
    )
