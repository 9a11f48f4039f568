"""What Airflow's API says of a task beside its result: the link to the image, and the arguments that took effect."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs, triggers_can_set_xcom
from airflow_provider_kandinsky.links.kandinsky import links_are_served
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support.running_jobs import keep_running
from ..support.task_ends import ended_in_triggerer

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]


def instance(airflow: LocalAirflow, run_id: str, task_id: str, map_index: int = -1, dag_id: str = "links") -> Any:
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    return airflow.api("GET", path if map_index < 0 else f"{path}/{map_index}")


def link(airflow: LocalAirflow, run_id: str, task_id: str, map_index: int = -1) -> str | None:
    """Where the link of a task leads in the end: with a gallery, it is a URL of that, which redirects."""
    path = f"/dags/links/dagRuns/{run_id}/taskInstances/{task_id}/links"
    links: dict[str, str | None] = airflow.api("GET", path, params={"map_index": map_index})["extra_links"]
    if not supports_plugin_tabs() or (url := links["Image"]) is None:
        return links["Image"]
    assert url.startswith(f"{airflow.base_url}/kandinsky-gallery/dags/links/runs/{quote(run_id, safe='')}/")
    token = httpx.get(f"{airflow.base_url}/auth/token", trust_env=False).raise_for_status().json()["access_token"]
    answer = httpx.get(url, cookies={"_token": token}, trust_env=False, timeout=120)
    assert answer.status_code == 302, answer.text
    return str(httpx.URL(airflow.base_url).join(answer.headers["location"]))


def xcom_keys(airflow: LocalAirflow, run_id: str, task_id: str) -> list[str]:
    path = f"/dags/links/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
    return [each["key"] for each in airflow.api("GET", path)["xcom_entries"]]


def test_the_link_leads_to_the_gallery_while_deferred_and_to_the_image_in_the_end(
    airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    keep_running(sandbox)
    run_id = airflow.trigger_dag("links")

    def gallery(task: str) -> str | None:
        """Where its tab is, where Airflow's UI has tabs; else the link leads nowhere."""
        path = f"/dags/links/runs/{quote(run_id, safe='')}/tasks/{task}/plugin/kandinsky-gallery"
        return f"{airflow.base_url}{path}" if supports_plugin_tabs() else None

    deadline = time.monotonic() + 180
    # Airflow stores the links of a task a moment after its deferral.
    while (reported := (instance(airflow, run_id, "deferred")["state"], link(airflow, run_id, "deferred"))) != (
        "deferred",
        gallery("deferred"),
    ):
        assert time.monotonic() < deadline, reported
        time.sleep(0.2)
    sandbox.clear_faults()

    assert airflow.wait_for_run("links", run_id) == "failed"
    not_mapped = [(task_id, -1) for task_id in ("in_worker", "poke", "deferred", "wait", "own", "decorated")]
    for task_id, map_index in (*not_mapped, ("mapped", 0), ("own_mapped", 0)):
        image = airflow.xcom("links", run_id, task_id, map_index=map_index)[0]
        assert link(airflow, run_id, task_id, map_index) == image, task_id
    assert link(airflow, run_id, "batch") == airflow.xcom("links", run_id, "batch")[0]["urls"][0]
    # From Airflow 3.4 on the region of a mapped instance follows.
    assert str(link(airflow, run_id, "mapped", 1)).partition("?")[0] == str(gallery("mapped/mapped/1"))
    assert link(airflow, run_id, "submit") == gallery("submit")
    assert airflow.xcom("links", run_id, "mapped", "error", map_index=1)["type"] == "JobFailedError"
    # Only a user's own operator writes its link, where the API server makes those of this package.
    assert "_link_KandinskyImageLink" in xcom_keys(airflow, run_id, "own")
    assert ("_link_KandinskyImageLink" in xcom_keys(airflow, run_id, "deferred")) != links_are_served()

    # The task has ended in the triggerer, where triggers can do that.
    log = airflow.task_log("links", run_id, "deferred")
    assert ended_in_triggerer(log) == triggers_can_set_xcom()
    # Nobody asks for an XCom that is not there, each of which would be an error in a log.
    lines = "".join(file.read_text() for file in (airflow.home / "logs").glob("*.log")).splitlines()
    assert [line for line in lines if "XCom not found" in line and run_id in line] == []
    seeds = {submitted["request_id"]: submitted["payload"]["seed"] for submitted in sandbox.submissions}
    for task_id in ("in_worker", "deferred", "submit"):
        shown = instance(airflow, run_id, task_id)["rendered_fields"]
        assert shown["seed"] == seeds[airflow.xcom("links", run_id, task_id, "request_id")], task_id
