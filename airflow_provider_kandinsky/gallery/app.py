"""The gallery's web app, a part of Airflow's API server.

Every route but the style sheet, the scripts and the page that opens the others asks Airflow whether the user may read
the XComs of that DAG, for that is most of what is shown; and all that is shown is asked of Airflow's REST API with the
user's own rights. The routes run in the API server's event loop, as that does: what blocks, a storage or a secrets
backend, is called in a thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.configuration import conf
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_kandinsky.gallery.urls import NOT_MAPPED, Addresses, Only, Within
from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError, MountedApp, UnreadableAnswerError
from airflow_provider_kandinsky.gallery.cards import Card, make_cards
from airflow_provider_kandinsky.gallery.stored_files import find_image
from airflow_provider_kandinsky.gallery.image_hosts import find_hosts
from airflow_provider_kandinsky.gallery.run_instances import NotThereError
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.page_builder import Listing
from airflow_provider_kandinsky.gallery.pages import Neighbours, Page
from airflow_provider_kandinsky.gallery.file_access import FileNotShownError, OutputPlace
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.gallery.rendering import (
    render_gallery,
    render_message,
    render_opening,
    render_picture,
)

log = logging.getLogger(__name__)

_RUN: Final = "/dags/{dag_id}/runs/{run_id}"
_TASK: Final = _RUN + "/tasks/{task_id}/{map_index}"
_PICTURE: Final = _TASK + "/{position}/{index}"

#: What is said in place of a page.
_MESSAGES: Final = {
    401: "You are not logged in. Log in to Airflow, and open this tab again.",
    403: "You may not read the XComs of this DAG, and so not see the pictures that they tell of.",
    404: "There is nothing of that name.",
}
#: The one answer for every stored file that is not sent: any other would tell what exists.
_FILE_NOT_SHOWN: Final = "This file is not shown. The API server's log says why."

#: Small, and read once. Not by Starlette's StaticFiles: before 0.49.1 one Range header keeps that busy, and older
#: Airflows come with an older one.
_STATIC: Final = {file.name: file.read_bytes() for file in Path(__file__).with_name("static").iterdir()}
_STATIC_TYPES: Final = {"css": "text/css", "js": "text/javascript"}

router: Final = APIRouter(
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))], default_response_class=HTMLResponse
)


def create_app() -> FastAPI:
    """Make the app, to be mounted in Airflow's."""
    app = MountedApp(title="Kandinsky gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.add_api_route("/static/{name}", _send_static)
    app.add_api_route("/open/{path:path}", _open)
    for kind in (AnyHTTPException, RequestValidationError, ApiError, NotThereError, UnreadableAnswerError):
        app.add_exception_handler(kind, _show_refusal)
    return app


async def _open(request: Request) -> Response:
    """A page that is there at once, and goes on to the one it stands for. It holds nothing of that one's."""
    return render_opening(Addresses(request.scope["root_path"], Scope("", "")))


async def _send_static(name: str) -> Response:
    """A style sheet or script, which anybody may have."""
    if name not in _STATIC:
        raise HTTPException(404)
    # Its URL holds the version.
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(_STATIC[name], media_type=_STATIC_TYPES[name.rpartition(".")[2]], headers=headers)


def _whole_run(dag_id: str, run_id: str) -> Scope:
    if "~" in (dag_id, run_id):
        # Airflow's API takes it for all of them.
        raise HTTPException(404)
    return Scope(dag_id, run_id)


RunScope = Annotated[Scope, Depends(_whole_run)]


def _one_task(run: RunScope, task_id: str, map_index: str) -> Scope:
    if map_index == NOT_MAPPED:
        # Of a mapped task, that is the page of all its instances.
        return replace(run, task_id=task_id)
    if not re.fullmatch(r"-1|[0-9]{1,9}", map_index):
        raise HTTPException(404)
    return replace(run, task_id=task_id, map_index=int(map_index))


TaskScope = Annotated[Scope, Depends(_one_task)]


def _one_instance(task: TaskScope) -> Scope:
    return task if task.map_index is not None else replace(task, map_index=-1)


InstanceScope = Annotated[Scope, Depends(_one_instance)]


@router.get(_RUN)
async def show_run(request: Request, scope: RunScope, page: int = 1, only: Only = None) -> Response:
    """The images of all tasks of a run."""
    found = await _listing(request, scope).of_run(page, only_failed=only is not None)
    return await _gallery(request, scope, found, only)


@router.get(_TASK)
async def show_task(request: Request, scope: TaskScope, page: int = 1, only: Only = None) -> Response:
    """The images of one task."""
    listing, task_id, map_index = _listing(request, scope), scope.task_id or "", scope.map_index
    if map_index is None:
        found = await listing.of_task(task_id, page, only_failed=only is not None)
    else:
        found = await listing.of_instance(task_id, map_index, page, only_failed=only is not None)
    return await _gallery(request, scope, found, only)


@router.get(_TASK + "/image")
async def open_image(request: Request, scope: InstanceScope) -> Response:
    """Where the link "Image" of a task leads: on to its first image, or while there is none that may be shown, to its
    tab."""
    items = await _listing(request, scope).items_of(scope.task_id or "", scope.map_index or 0)
    cards = await _make_cards(items[:1], items)
    image = next((image for card in cards for image in card.pictures[:1] if image.origin is not None), None)
    url = image.address if image else Addresses(request.scope["root_path"], scope).tab()
    return RedirectResponse(url, status_code=302, headers={"Cache-Control": "no-store"})


@router.get(_PICTURE)
async def show_picture(
    request: Request,
    task: InstanceScope,
    position: int,
    index: int,
    within: Within = "instance",
    page: int = 1,
    only: Only = None,
) -> Response:
    """One generation, with all that is known of it, and one of its images large."""
    listing, task_id, map_index = _listing(request, task), task.task_id or "", task.map_index or 0
    items = await listing.items_of(task_id, map_index)
    item = _at(items, position)
    if item is None or not 0 <= index < max(1, len(item.addresses)):
        raise HTTPException(404)
    siblings = await listing.count(task_id) if map_index >= 0 else 1
    (card,) = await _make_cards([item], items)
    scope = {"run": Scope(task.dag_id, task.run_id), "task": replace(task, map_index=None), "instance": task}[within]
    addresses = Addresses(request.scope["root_path"], scope, page, only)
    return render_picture(addresses, card, index, Neighbours.of(item, index, items, siblings))


@router.get(_PICTURE + "/file")
async def send_file(request: Request, scope: InstanceScope, position: int, index: int) -> Response:
    """A stored image itself.

    Addressed by its place; which file that is, the task's XCom says. A browser may keep it, but has to ask each time
    whether it may still be shown, and whether it is still the same.
    """
    item = _at(await _listing(request, scope).items_of(scope.task_id or "", scope.map_index or 0), position)
    addresses = item.addresses if item else []
    if item is None or not 0 <= index < len(addresses) or addresses[index].lower().startswith(("http:", "https:")):
        raise HTTPException(404)
    known = request.headers.get("If-None-Match")
    try:
        return await run_in_threadpool(_send, addresses[index], item.record.place, index, known)
    except FileNotShownError as error:
        log.warning(
            "The file %r of %s [%s] in run %s of %s is not shown: %s",
            addresses[index],
            scope.task_id,
            scope.map_index,
            scope.run_id,
            scope.dag_id,
            error,
        )
        raise HTTPException(404) from error


def _send(uri: str, place: OutputPlace | None, index: int, known: str | None) -> Response:
    file = find_image(uri, place)
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if file.tag is not None:
        headers["ETag"] = file.tag
        if known == file.tag:
            return Response(status_code=304, headers=headers)
    image = file.open_image()
    headers |= {
        "Content-Length": str(image.size),
        "Content-Disposition": f'inline; filename="{index}.{image.extension}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return StreamingResponse(image.chunks(), media_type=f"image/{image.extension}", headers=headers)


async def _gallery(request: Request, scope: Scope, page: Page, only: Only) -> Response:
    items = page.items
    cards = iter(await _make_cards(items, items))
    sections = [(section, list(islice(cards, len(section.shown)))) for section in page.sections]
    return render_gallery(Addresses(request.scope["root_path"], scope, page.number.number, only), page, sections)


def _listing(request: Request, scope: Scope) -> Listing:
    serves_files = conf.getboolean("kandinsky", "gallery_serves_files", fallback=True)
    return Listing(AirflowApi(request), scope, serves_files=serves_files)


def _at(items: Sequence[Item], position: int) -> Item | None:
    return next((item for item in items if item.position == position), None)


async def _make_cards(selected: Sequence[Item], items: Sequence[Item]) -> list[Card]:
    # A secrets backend can take its time to say which hosts images may come from.
    return await run_in_threadpool(make_cards, selected, items, datetime.now(UTC), cache(find_hosts))


async def _show_refusal(request: Request, error: Exception) -> Response:
    """A sentence instead of Airflow's JSON: it is read in a tab."""
    status = 404
    if isinstance(error, AnyHTTPException):
        status = error.status_code
    elif isinstance(error, ApiError):
        status = error.status
    elif isinstance(error, UnreadableAnswerError):
        status = 500
    text = _MESSAGES.get(status, "This cannot be shown.")
    if isinstance(error.__cause__, FileNotShownError):
        text = _FILE_NOT_SHOWN
    return render_message(Addresses(request.scope["root_path"], Scope("", "")), text, status)
