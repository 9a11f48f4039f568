"""Which tasks the page of a large run has; Airflow's REST API is a small app here."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from airflow.utils.state import TaskInstanceState
from fastapi import FastAPI, HTTPException, Request

from airflow_provider_kandinsky.gallery.api import AirflowApi, MountedApp
from airflow_provider_kandinsky.gallery.page_builder import PageBuilder
from airflow_provider_kandinsky.gallery.task_records import Scope

RUN_AFTER = "2026-01-01T00:00:00Z"
PAINT = {"kandinsky_conn_id": "kandinsky_default", "prompt": "a cat"}
#: The rendered fields of a run's tasks; the DAG's latest version has only the first one.
RUN = {"paint": PAINT, "removed": PAINT, "removed_other": {"bash_command": "true"}}


def instances(mapped: int, state: str | None) -> list[dict[str, Any]]:
    """The task instances of a run, ``mapped`` of ``paint``."""
    indexes = {"paint": range(mapped)}
    return [
        {
            "task_id": task_id,
            "map_index": map_index,
            "rendered_map_index": None,
            "state": state,
            "rendered_fields": fields,
        }
        for task_id, fields in RUN.items()
        for map_index in indexes.get(task_id, [-1])
    ]


def airflow(gallery: FastAPI, *, mapped: int, deleted: bool, state: str | None) -> FastAPI:
    parent = FastAPI()
    run = instances(mapped, state)

    @parent.get("/api/v2/dags/d/tasks")
    async def tasks() -> Any:
        if deleted:
            raise HTTPException(404)
        return {"tasks": [{"task_id": "paint", "template_fields": list(PAINT), "is_mapped": True}]}

    @parent.get("/ui/grid/structure/d")
    async def grid(run_after_gte: str = "", run_after_lte: str = "") -> Any:
        if deleted:
            raise HTTPException(404)
        # As Airflow's: the tasks of the latest version, and of those of the runs that the filters select.
        is_of_run = run_after_gte == run_after_lte == RUN_AFTER
        return [{"id": task_id} for task_id in (RUN if is_of_run else ["paint"])]

    @parent.get("/api/v2/dags/d/dagRuns/r")
    async def dag_run() -> Any:
        return {"run_after": RUN_AFTER}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances")
    async def task_instances(request: Request, task_id: str | None = None, limit: int = 50, offset: int = 0) -> Any:
        states = request.query_params.getlist("state")
        if not {*states} <= {"none", *TaskInstanceState}:
            raise HTTPException(422)
        of_task = [each for each in run if task_id in (None, each["task_id"])]
        found = [each for each in of_task if not states or (each["state"] or "none") in states]
        return {"task_instances": found[offset : offset + limit], "total_entries": len(found)}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances/{task_id}/xcomEntries")
    async def xcom_entries(task_id: str) -> Any:
        return {"xcom_entries": []}

    parent.mount("/gallery", gallery)
    return parent


def sections_of_run(*, mapped: int, deleted: bool = False, state: str | None = "skipped") -> list[tuple[str, int]]:
    """The titles and counts of the sections of the run's page."""
    gallery = MountedApp()

    @gallery.get("/page")
    async def page(request: Request) -> Any:
        built = await PageBuilder(AirflowApi(request), Scope("d", "r"), serves_files=True).build(1)
        return [(section.title, section.count) for section in built.sections]

    async def get() -> Any:
        transport = httpx.ASGITransport(airflow(gallery, mapped=mapped, deleted=deleted, state=state))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return (await client.get("/gallery/page")).raise_for_status().json()

    return [tuple(section) for section in asyncio.run(get())]


def test_a_small_run_has_the_tasks_that_the_dag_no_longer_has() -> None:
    assert sections_of_run(mapped=3) == [("paint", 3), ("removed", 1)]


def test_a_large_run_has_them_too() -> None:
    assert sections_of_run(mapped=300) == [("paint", 300), ("removed", 1)]


def test_a_small_run_of_a_deleted_dag_has_all_its_tasks() -> None:
    assert sections_of_run(mapped=3, deleted=True) == [("paint", 3), ("removed", 1)]


def test_a_large_run_of_a_deleted_dag_can_be_opened() -> None:
    assert sections_of_run(mapped=300, deleted=True) == []


def causes_of_failed(number: int, *, task_id: str | None = None, page_number: int = 1) -> tuple[dict[str, int], int]:
    """The causes on the page of the failed, of a run with so many failed instances, and the calls for errors."""
    gallery = MountedApp()
    calls: list[str] = []

    @gallery.get("/page")
    async def page(request: Request) -> Any:
        scope = Scope("d", "r", task_id)
        builder = PageBuilder(AirflowApi(request), scope, serves_files=True, only_failed=True)
        built = await builder.build(page_number)
        return {str(cause.error_type): cause.count for cause in built.causes}

    parent = FastAPI()

    @parent.get("/api/v2/dags/d/tasks")
    async def tasks() -> Any:
        return {"tasks": [{"task_id": "paint", "template_fields": list(PAINT), "is_mapped": True}]}

    @parent.get("/ui/grid/structure/d")
    async def grid() -> Any:
        return [{"id": "paint", "is_mapped": True}]

    @parent.get("/api/v2/dags/d/dagRuns/r")
    async def dag_run() -> Any:
        return {"run_after": RUN_AFTER}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances")
    async def task_instances(request: Request, limit: int = 50, offset: int = 0) -> Any:
        states = request.query_params.getlist("state")
        found = [
            {
                "task_id": "paint",
                "map_index": index,
                "rendered_map_index": None,
                "state": "failed" if index < number else "success",
                "rendered_fields": PAINT,
            }
            for index in range(number + 300)
        ]
        found = [each for each in found if not states or each["state"] in states]
        return {"task_instances": found[offset : offset + limit], "total_entries": len(found)}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances/paint/xcomEntries")
    async def xcom_entries() -> Any:
        return {"xcom_entries": [{"key": "error"}]}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances/paint/xcomEntries/{key}")
    async def xcom_entry(key: str, map_index: int) -> Any:
        calls.append(key)
        if key != "error" or map_index % 10 == 9:
            raise HTTPException(404)
        error_type = "ContentBlockedError" if map_index % 10 < 7 else "JobTimeoutError"
        return {"value": {"type": error_type, "message": "No."}, "timestamp": RUN_AFTER}

    parent.mount("/gallery", gallery)

    async def get() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(parent), base_url="http://airflow") as client:
            return (await client.get("/gallery/page")).raise_for_status().json()

    return asyncio.run(get()), len(calls)


def test_the_failed_of_a_run_are_summed_up_beyond_the_cards_that_are_shown() -> None:
    # 8 cards are shown of the 60, and 92 more errors might have been read.
    causes, _ = causes_of_failed(60)
    assert causes == {"ContentBlockedError": 42, "JobTimeoutError": 12, "None": 6}


def test_of_very_many_failures_the_first_are_read_and_all_are_counted() -> None:
    causes, calls = causes_of_failed(1000)
    assert sum(causes.values()) == 1000
    assert causes["ContentBlockedError"] + causes["JobTimeoutError"] > 90
    assert calls <= 8 * 2 + 100


def test_each_page_of_a_task_sums_up_what_is_on_the_others() -> None:
    for page_number in (1, 2, 3):
        causes, _ = causes_of_failed(60, task_id="paint", page_number=page_number)
        assert causes == {"ContentBlockedError": 42, "JobTimeoutError": 12, "None": 6}


@pytest.mark.parametrize("state", [None, *TaskInstanceState])
@pytest.mark.parametrize("mapped", [3, 300])
def test_no_state_of_this_airflow_is_left_out(state: TaskInstanceState | None, mapped: int) -> None:
    assert sections_of_run(mapped=mapped, state=state and state.value)[0] == ("paint", mapped)
