"""Task instances in a region of their run: a loop's iterations, which differ in nothing else, and a mapped task's."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from airflow_provider_kandinsky.compat.loops import loop_region
from airflow_provider_kandinsky.gallery.api import AirflowApi, MountedApp
from airflow_provider_kandinsky.gallery.app import create_app
from airflow_provider_kandinsky.gallery.page_builder import PageBuilder
from airflow_provider_kandinsky.gallery.regions import Region
from airflow_provider_kandinsky.gallery.routes import router
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.gallery.urls import GalleryUrls
from airflow_provider_kandinsky.links.kandinsky import stored_image_path

REGION = "01a21c7e-64b2-7b77-a5d4-5c9be0f074f7"
PAINT = {"kandinsky_conn_id": "kandinsky_default", "prompt": "a cat", "output_path": "file:///stored"}


def airflow(gallery: FastAPI, *, is_mapped: bool = False, is_looped: bool = True) -> FastAPI:
    """An Airflow whose run has a region of three instances, of a loop, a mapped task, or one that is mapped in a loop.

    Like Airflow's its API refuses to guess which iteration is meant.
    """
    parent = FastAPI()

    def instance(index: int) -> dict[str, Any]:
        loop = {"loop_id": "again", "iteration": 0 if is_mapped else index} if is_looped else None
        return {
            "region_id": REGION,
            "region_index": index,
            "loop_iteration": loop,
            "task_id": "paint",
            "map_index": index if is_mapped else -1,
            "rendered_map_index": None,
            "state": "success",
            "rendered_fields": PAINT,
        }

    def selected(region_id: str | None, region_index: int | None, map_index: int = -1) -> int:
        if region_id is None and not is_looped:
            return map_index
        if region_id != REGION or region_index not in range(3):
            raise HTTPException(400)
        return int(region_index or 0)

    @parent.get("/api/v2/dags/d/tasks")
    async def tasks() -> Any:
        return {"tasks": [{"task_id": "paint", "template_fields": list(PAINT), "is_mapped": is_mapped}]}

    @parent.get("/ui/grid/structure/d")
    async def grid() -> Any:
        return [{"id": "paint"}]

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances")
    async def task_instances(request: Request) -> Any:
        states = request.query_params.getlist("state")
        found = [instance(index) for index in range(3)] if not states or "success" in states else []
        return {"task_instances": found, "total_entries": len(found)}

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances/paint/{map_index}")
    async def one(map_index: int, region_id: str | None = None, region_index: int | None = None) -> Any:
        return instance(selected(region_id, region_index, map_index))

    @parent.get("/api/v2/dags/d/dagRuns/r/taskInstances/paint/xcomEntries/{key}")
    async def xcom(key: str, map_index: int = -1, region_id: str | None = None, region_index: int | None = None) -> Any:
        index = selected(region_id, region_index, map_index)
        values = {"return_value": [f"file:///stored/{index}.png"], "generation": {"request_id": f"r{index}"}}
        return {"value": values[key], "timestamp": "2026-01-01T00:00:00Z"}

    parent.mount("/gallery", gallery)
    return parent


def neighbours_of_middle_image(*, is_looped: bool, region: str) -> list[str]:
    """What leads from the page of a mapped task's middle image to others, for a user with all rights."""
    gallery = create_app()
    (rights,) = (each.dependency for each in router.dependencies)
    gallery.dependency_overrides[rights] = lambda: None

    async def get() -> str:
        transport = httpx.ASGITransport(airflow(gallery, is_mapped=True, is_looped=is_looped))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            page = await client.get(f"/gallery/dags/d/runs/r/tasks/paint/1/0/0{region}")
            return page.raise_for_status().text

    return re.findall(r'rel="(?:prev|next)" href="([^"]*)"', asyncio.run(get()))


@pytest.mark.parametrize("region", ["", f"?region={REGION}.1"])
def test_a_mapped_task_s_region_is_no_loop(region: str) -> None:
    path = "/gallery/dags/d/runs/r/tasks/paint/{}/0/0?within=instance"
    assert neighbours_of_middle_image(is_looped=False, region=region) == [path.format(0), path.format(2)]


def test_in_a_loop_no_instance_of_another_iteration_is_next() -> None:
    assert neighbours_of_middle_image(is_looped=True, region=f"?region={REGION}.1") == []


def from_builder(ask: Any, scope: Scope) -> Any:
    gallery = MountedApp()

    @gallery.get("/page")
    async def page(request: Request) -> Any:
        return await ask(PageBuilder(AirflowApi(request), scope, serves_files=True))

    async def get() -> Any:
        transport = httpx.ASGITransport(airflow(gallery))
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return (await client.get("/gallery/page")).raise_for_status().json()

    return asyncio.run(get())


def test_the_run_and_the_task_show_each_iteration() -> None:
    async def shown(builder: PageBuilder) -> Any:
        return [item.request_id for item in (await builder.build(1)).items]

    assert from_builder(shown, Scope("d", "r")) == ["r0", "r1", "r2"]
    assert from_builder(shown, Scope("d", "r", "paint")) == ["r0", "r1", "r2"]


def test_a_page_of_one_iteration_has_its_number() -> None:
    async def instance(builder: PageBuilder) -> Any:
        page = await builder.build(1)
        return [page.title, *(item.request_id for item in page.items)]

    scope = Scope("d", "r", "paint", -1).within(f"{REGION}.2")
    assert scope is not None
    assert from_builder(instance, scope) == ["paint, iteration 2", "r2"]


def test_an_image_s_urls_say_which_iteration_it_is_of() -> None:
    async def urls_of(builder: PageBuilder) -> Any:
        items = (await builder.build(1)).items
        urls = GalleryUrls("/g", Scope("d", "r"))
        return [[urls.image(card.item), urls.file(card.item, 0)] for card in await builder.build_cards(items, items)]

    found = from_builder(urls_of, Scope("d", "r"))
    path = "/g/dags/d/runs/r/tasks/paint/-1/0/0"
    assert [image for image, _ in found] == [f"{path}?region={REGION}.{index}&within=run" for index in range(3)]
    assert all(file.startswith(f"{path}/file?region={REGION}.{index}&v=") for index, (_, file) in enumerate(found))


def test_the_tab_and_the_page_before_are_of_the_same_iteration() -> None:
    urls = GalleryUrls("/kandinsky-gallery", Scope("d", "r", "paint", -1, Region(REGION, 1)))
    assert urls.back() == f"/kandinsky-gallery/dags/d/runs/r/tasks/paint/-1?region={REGION}.1"
    assert urls.tab().endswith(f"/plugin/kandinsky-gallery?region_id={REGION}&region_index=1")
    assert "region" not in urls.task("paint") + urls.run()


@pytest.mark.parametrize("query", ["", "1", REGION, f"{REGION}.", f"{REGION}.x", f"{REGION}.1&a=b", f"../{REGION}.1"])
def test_no_other_query_is_a_region(query: str) -> None:
    assert Region.from_query(query) is None
    assert Scope("d", "r", "paint", -1).within(query) is None


@pytest.mark.parametrize("instance", [{}, {"region_id": REGION}, {"region_id": 7, "region_index": 0}])
def test_a_task_instance_outside_of_loops_has_none(instance: dict[str, Any]) -> None:
    assert Region.from_api(instance) is None


def test_a_worker_s_links_lead_to_its_own_iteration() -> None:
    names = {"dag_id": "d", "run_id": "r", "task_id": "paint", "map_index": -1}
    looped: Any = SimpleNamespace(**names, region_id=UUID(REGION), region_index=1)
    assert stored_image_path(looped).endswith(f"/-1/0/0/file?region={REGION}.1")
    assert Region.from_query(loop_region(looped) or "") == Region(REGION, 1)
    for outside in (SimpleNamespace(**names), SimpleNamespace(**names, region_id=UUID(int=0), region_index=-1)):
        assert stored_image_path(outside).endswith("/-1/0/0/file")
