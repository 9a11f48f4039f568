"""The gallery's web app, a part of Airflow's API server.

Every route but the style sheet and the scripts asks Airflow whether the user may read the XComs of that DAG, for that
is what is shown. All routes are plain functions, which run in threads: reading the database and the storage blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_kandinsky.gallery.addresses import NOT_MAPPED, Addresses
from airflow_provider_kandinsky.gallery.cards import Card, hang
from airflow_provider_kandinsky.gallery.files import FileNotShownError, open_picture, read_manifest
from airflow_provider_kandinsky.gallery.hosts import find_hosts
from airflow_provider_kandinsky.gallery.pages import Page, Totals
from airflow_provider_kandinsky.gallery.records import Scope, UnknownRunError, read_records
from airflow_provider_kandinsky.gallery.rendering import render_gallery, render_message, render_picture

_RUN: Final = "/dags/{dag_id}/runs/{run_id}"
_TASK: Final = _RUN + "/tasks/{task_id}/{map_index}"
_PICTURE: Final = _TASK + "/{position}/{index}"

#: What is said in place of a page.
_MESSAGES: Final = {
    401: "You are not logged in. Log in to Airflow, and open this tab again.",
    403: "You may not read the XComs of this DAG, and so not see the pictures that they tell of.",
    404: "There is nothing of that name.",
}

router: Final = APIRouter(
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))], default_response_class=HTMLResponse
)


def create_app() -> FastAPI:
    """Make the app, to be mounted in Airflow's."""
    app = FastAPI(title="Kandinsky gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    app.add_exception_handler(AnyHTTPException, _show_refusal)
    app.add_exception_handler(RequestValidationError, _show_refusal)
    return app


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
    cards, _ = _hang(scope)
    places = [(card, each) for card in cards for each in range(len(card.pictures))]
    wanted = (task.task_id, task.map_index, position, index)
    for place, (card, each) in enumerate(places):
        if (card.record.task_id, card.record.map_index, card.position, each) == wanted:
            return render_picture(_addresses(request, scope), cards, places, place)
    raise HTTPException(404)


@router.get(_PICTURE + "/file")
def send_file(scope: TaskScope, position: int, index: int) -> Response:
    """A stored picture itself.

    Addressed by its place; which file that is, the task's XCom says.
    """
    cards, _ = _hang(scope)
    card = next((card for card in cards if card.position == position), None)
    pictures = card.pictures if card else ()
    if not 0 <= index < len(pictures) or not pictures[index].is_stored:
        raise HTTPException(404)
    try:
        picture = open_picture(pictures[index].address)
    except FileNotShownError as error:
        raise HTTPException(404, str(error)) from error
    headers = {
        "Content-Length": str(picture.size),
        "Content-Disposition": f'inline; filename="{index}.{picture.extension}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=3600",
    }
    return StreamingResponse(picture.chunks(), media_type=f"image/{picture.extension}", headers=headers)


def _gallery(request: Request, scope: Scope, page: int) -> Response:
    cards, goes_on = _hang(scope)
    return render_gallery(_addresses(request, scope), Page.of(cards, page), Totals.of(cards), goes_on=goes_on)


def _hang(scope: Scope) -> tuple[Sequence[Card], bool]:
    """The cards, and whether there may be more to come."""
    try:
        with create_session(scoped=False) as session:
            records, goes_on = read_records(session, scope)
    except UnknownRunError:
        raise HTTPException(404) from None
    # The session is closed by now: storage can take its time.
    return hang(records, datetime.now(UTC), cache(find_hosts), read_manifest), goes_on


def _addresses(request: Request, scope: Scope) -> Addresses:
    return Addresses(request.scope["root_path"], scope)


async def _show_refusal(request: Request, error: Exception) -> Response:
    """A sentence instead of Airflow's JSON: it is read in a tab. More than the status is told of stored files only."""
    status = error.status_code if isinstance(error, AnyHTTPException) else 404
    cause = error.__cause__
    text = str(cause) if isinstance(cause, FileNotShownError) else _MESSAGES.get(status, "This cannot be shown.")
    return render_message(_addresses(request, Scope("", "")), text, status)
