"""The gallery's web app, a part of Airflow's API server.

Every route but the style sheet and the scripts asks Airflow whether the user may read the XComs of that DAG, for that
is what is shown. All routes are plain functions, which run in threads: reading the database and the storage blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.configuration import conf
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_kandinsky.gallery.addresses import NOT_MAPPED, Addresses
from airflow_provider_kandinsky.gallery.cards import Card, make_cards
from airflow_provider_kandinsky.gallery.files import StoredFile, find_image, read_manifest
from airflow_provider_kandinsky.gallery.hosts import find_hosts
from airflow_provider_kandinsky.gallery.items import Item, list_items
from airflow_provider_kandinsky.gallery.pages import PAGE_SIZE, PageNumber, Totals, places_of
from airflow_provider_kandinsky.gallery.places import FileNotShownError
from airflow_provider_kandinsky.gallery.records import Scope, UnknownRunError, read_records
from airflow_provider_kandinsky.gallery.rendering import render_gallery, render_message, render_picture

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
    app = FastAPI(title="Kandinsky gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.add_api_route("/static/{name}", _send_static)
    app.add_exception_handler(AnyHTTPException, _show_refusal)
    app.add_exception_handler(RequestValidationError, _show_refusal)
    return app


def _send_static(name: str) -> Response:
    """A style sheet or script, which anybody may have."""
    if name not in _STATIC:
        raise HTTPException(404)
    # Its URL holds the version.
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(_STATIC[name], media_type=_STATIC_TYPES[name.rpartition(".")[2]], headers=headers)


def _whole_run(dag_id: str, run_id: str) -> Scope:
    return Scope(dag_id, run_id)


def _one_task(dag_id: str, run_id: str, task_id: str, map_index: str) -> Scope:
    if map_index == NOT_MAPPED:
        # Of a mapped task, that is the page of all its instances.
        return Scope(dag_id, run_id, task_id)
    try:
        return Scope(dag_id, run_id, task_id, int(map_index))
    except ValueError:
        raise HTTPException(404) from None


RunScope = Annotated[Scope, Depends(_whole_run)]
TaskScope = Annotated[Scope, Depends(_one_task)]


@router.get(_RUN)
def show_run(request: Request, scope: RunScope, page: int = 1) -> Response:
    """The pictures of all tasks of a run."""
    return _gallery(request, scope, page)


@router.get(_TASK)
def show_task(request: Request, scope: TaskScope, page: int = 1) -> Response:
    """The pictures of one task."""
    return _gallery(request, scope, page)


@router.get(_PICTURE)
def show_picture(
    request: Request, task: TaskScope, position: int, index: int, within: Literal["run", "task"] = "task"
) -> Response:
    """One picture, with all that is known of it."""
    scope = Scope(task.dag_id, task.run_id) if within == "run" else task
    items, _ = _list_items(scope)
    places = places_of(items)
    wanted = (task.task_id, task.map_index, position, index)
    for place, (item, each) in enumerate(places):
        if (item.record.task_id, item.record.map_index, item.position, each) == wanted:
            (card,) = _make_cards([item], items)
            if each >= len(card.pictures):
                break
            page = items.index(item) // PAGE_SIZE + 1
            return render_picture(_addresses(request, scope), card, each, places, place, page)
    raise HTTPException(404)


@router.get(_PICTURE + "/file")
def send_file(request: Request, scope: TaskScope, position: int, index: int) -> Response:
    """A stored picture itself.

    Addressed by its place; which file that is, the task's XCom says. A browser may keep it, but has to ask each time
    whether it may still be shown, and whether it is still the same.
    """
    items, _ = _list_items(scope)
    item = next((item for item in items if item.position == position), None)
    addresses = item.addresses if item else []
    if item is None or not 0 <= index < len(addresses) or addresses[index].lower().startswith(("http:", "https:")):
        raise HTTPException(404)
    try:
        return _send(find_image(addresses[index], item.record.place), index, request.headers.get("If-None-Match"))
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


def _send(file: StoredFile, index: int, known: str | None) -> Response:
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


def _gallery(request: Request, scope: Scope, number: int) -> Response:
    items, goes_on = _list_items(scope)
    page = PageNumber.nearest(number, len(items))
    cards = _make_cards(page.cut(items), items)
    return render_gallery(_addresses(request, scope), cards, page, Totals.of(items), goes_on=goes_on)


def _list_items(scope: Scope) -> tuple[list[Item], bool]:
    """The items, and whether there may be more to come."""
    try:
        with create_session(scoped=False) as session:
            records, goes_on = read_records(session, scope)
    except UnknownRunError:
        raise HTTPException(404) from None
    if not conf.getboolean("kandinsky", "gallery_serves_files", fallback=True):
        records = [record.without_files() for record in records]
    # The session is closed by now: storage can take its time.
    return list_items(records, read_manifest), goes_on


def _make_cards(selected: Sequence[Item], items: Sequence[Item]) -> list[Card]:
    return make_cards(selected, items, datetime.now(UTC), cache(find_hosts))


def _addresses(request: Request, scope: Scope) -> Addresses:
    return Addresses(request.scope["root_path"], scope)


async def _show_refusal(request: Request, error: Exception) -> Response:
    """A sentence instead of Airflow's JSON: it is read in a tab."""
    status = error.status_code if isinstance(error, AnyHTTPException) else 404
    text = _MESSAGES.get(status, "This cannot be shown.")
    if isinstance(error.__cause__, FileNotShownError):
        text = _FILE_NOT_SHOWN
    return render_message(_addresses(request, Scope("", "")), text, status)
