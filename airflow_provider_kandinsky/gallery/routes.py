"""The gallery's pages and stored images.

Each route asks Airflow whether the user may read the DAG's XComs, which are most of what is shown; all data then comes
from Airflow's REST API with the user's own rights. The routes run in the API server's event loop: what blocks, a
storage or a secrets backend, runs in a thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Annotated, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.configuration import conf
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse

from airflow_provider_kandinsky.gallery.api import AirflowApi
from airflow_provider_kandinsky.gallery.coerce import is_http_url
from airflow_provider_kandinsky.gallery.file_access import FileNotShownError, OutputFolder
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.page_builder import PageBuilder
from airflow_provider_kandinsky.gallery.pages import Neighbours
from airflow_provider_kandinsky.gallery.rendering import render_gallery, render_image
from airflow_provider_kandinsky.gallery.stored_files import find_image
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.gallery.urls import NOT_MAPPED, GalleryUrls, Only, Within

log = logging.getLogger(__name__)

_RUN: Final = "/dags/{dag_id}/runs/{run_id}"
_TASK: Final = _RUN + "/tasks/{task_id}/{map_index}"
_IMAGE: Final = _TASK + "/{position}/{index}"

router: Final = APIRouter(
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))], default_response_class=HTMLResponse
)


def _whole_run(dag_id: str, run_id: str) -> Scope:
    if "~" in (dag_id, run_id):
        # Airflow's API takes it as a wildcard for all of them.
        raise HTTPException(404)
    return Scope(dag_id, run_id)


RunScope = Annotated[Scope, Depends(_whole_run)]


def _one_task(run: RunScope, task_id: str, map_index: str, region: str | None = None) -> Scope:
    if map_index == NOT_MAPPED:
        # For a mapped task, Airflow's UI links this to the page of all its instances.
        return replace(run, task_id=task_id)
    if not re.fullmatch(r"-1|[0-9]{1,9}", map_index):
        raise HTTPException(404)
    scope = replace(run, task_id=task_id, map_index=int(map_index)).within(region)
    if scope is None:
        raise HTTPException(404)
    return scope


TaskScope = Annotated[Scope, Depends(_one_task)]


def _one_instance(task: TaskScope) -> Scope:
    return task if task.map_index is not None else replace(task, map_index=-1)


InstanceScope = Annotated[Scope, Depends(_one_instance)]


@router.get(_RUN)
async def show_run(request: Request, scope: RunScope, page: int = 1, only: Only = None) -> Response:
    """The images of all tasks of a run."""
    return await _show_page(request, scope, page, only)


@router.get(_TASK)
async def show_task(request: Request, scope: TaskScope, page: int = 1, only: Only = None) -> Response:
    """The images of one task."""
    return await _show_page(request, scope, page, only)


@router.get(_TASK + "/image")
async def open_image(request: Request, scope: InstanceScope) -> Response:
    """The target of a task's link "Image": redirects to its first image, or to its tab if none may be shown."""
    builder = _page_builder(request, scope)
    items = await builder.read_items()
    cards = await builder.build_cards(items[:1], items)
    image = next((image for card in cards for image in card.images[:1] if image.origin is not None), None)
    url = image.uri if image else GalleryUrls(request.scope["root_path"], scope).tab()
    return RedirectResponse(url, status_code=302, headers={"Cache-Control": "no-store"})


@router.get(_IMAGE)
async def show_image(
    request: Request,
    task: InstanceScope,
    position: int,
    index: int,
    within: Within = "instance",
    page: int = 1,
    only: Only = None,
) -> Response:
    """One generation with all its details, and one of its images large."""
    builder = _page_builder(request, task)
    items = await builder.read_items()
    item = _item_at(items, position)
    if item is None or not 0 <= index < max(1, len(item.uris)):
        raise HTTPException(404)
    record = item.record
    # In a loop the instances of all iterations would be counted.
    is_alone = record.map_index < 0 or record.iteration is not None
    siblings = 1 if is_alone else await builder.count_instances(record.task_id)
    (card,) = await builder.build_cards([item], items)
    scope = {
        "run": Scope(task.dag_id, task.run_id),
        "task": replace(task, map_index=None, region=None),
        "instance": task,
    }[within]
    urls = GalleryUrls(request.scope["root_path"], scope, page, only)
    return render_image(urls, card, index, Neighbours.find(item, index, items, siblings))


@router.get(_IMAGE + "/file")
async def send_file(request: Request, scope: InstanceScope, position: int, index: int) -> Response:
    """The bytes of a stored image.

    The URL has its position; the file's URI comes from the task's XCom. A browser may cache it, but must revalidate it
    each time, as the user's rights or the file may have changed.
    """
    item = _item_at(await _page_builder(request, scope).read_items(), position)
    uris = item.uris if item else []
    if item is None or not 0 <= index < len(uris) or is_http_url(uris[index]):
        raise HTTPException(404)
    etag = request.headers.get("If-None-Match")
    try:
        return await run_in_threadpool(_image_response, uris[index], item.record.output_folder, index, etag)
    except FileNotShownError as error:
        log.warning(
            "The file %r of %s [%s] in run %s of %s is not shown: %s",
            uris[index],
            scope.task_id,
            scope.map_index,
            scope.run_id,
            scope.dag_id,
            error,
        )
        raise HTTPException(404) from error


def _image_response(uri: str, folder: OutputFolder | None, index: int, known_etag: str | None) -> Response:
    file = find_image(uri, folder)
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if file.etag is not None:
        headers["ETag"] = file.etag
        if known_etag == file.etag:
            return Response(status_code=304, headers=headers)
    extension, chunks = file.open_image()
    headers |= {
        "Content-Length": str(file.size),
        "Content-Disposition": f'inline; filename="{index}.{extension}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return StreamingResponse(chunks, media_type=f"image/{extension}", headers=headers)


async def _show_page(request: Request, scope: Scope, number: int, only: Only) -> Response:
    builder = _page_builder(request, scope, only)
    page = await builder.build(number)
    cards = iter(await builder.build_cards(page.items, page.items))
    sections = [(section, list(islice(cards, len(section.shown)))) for section in page.sections]
    return render_gallery(GalleryUrls(request.scope["root_path"], scope, page.number.number, only), page, sections)


def _page_builder(request: Request, scope: Scope, only: Only = None) -> PageBuilder:
    serves_files = conf.getboolean("kandinsky", "gallery_serves_files", fallback=True)
    return PageBuilder(AirflowApi(request), scope, serves_files=serves_files, only_failed=only is not None)


def _item_at(items: Sequence[Item], position: int) -> Item | None:
    return next((item for item in items if item.position == position), None)
