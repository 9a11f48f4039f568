"""The gallery's web app, mounted in Airflow's API server: :mod:`.routes`, static files, loading and error pages.

What is served without authorisation is here, and has no data of any DAG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_kandinsky.gallery.api import ApiError, MountedApp
from airflow_provider_kandinsky.gallery.coerce import UnreadableError
from airflow_provider_kandinsky.gallery.file_access import FileNotShownError
from airflow_provider_kandinsky.gallery.rendering import render_loading, render_message
from airflow_provider_kandinsky.gallery.routes import router
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.gallery.urls import GalleryUrls

#: Error pages by status.
_MESSAGES: Final = {
    401: "You are not logged in. Log in to Airflow, and open this tab again.",
    403: "You may not read the XComs of this DAG, so you may not see its pictures.",
    404: "There is nothing of that name.",
}
#: The same for every file that is not sent: a reason would reveal which files exist.
_FILE_NOT_SHOWN: Final = "This file is not shown. The API server's log says why."

#: Read once, as they are small. Not served by Starlette's StaticFiles: before 0.49.1 a Range header can keep that busy,
#: and older Airflow releases come with an older Starlette.
_STATIC: Final = {file.name: file.read_bytes() for file in Path(__file__).with_name("static").iterdir()}
_STATIC_TYPES: Final = {"css": "text/css", "js": "text/javascript"}


def create_app() -> FastAPI:
    """Create the app that Airflow mounts."""
    app = MountedApp(title="Kandinsky gallery", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.add_api_route("/static/{name}", _send_static)
    app.add_api_route("/open/{path:path}", _show_loading)
    for kind in (AnyHTTPException, RequestValidationError, ApiError, UnreadableError):
        app.add_exception_handler(kind, _show_error)
    return app


async def _show_loading(request: Request) -> Response:
    """Shown while a busy API server renders the page; its script loads that page."""
    return render_loading(GalleryUrls(request.scope["root_path"], Scope("", "")))


async def _send_static(name: str) -> Response:
    """A style sheet or script; public."""
    if name not in _STATIC:
        raise HTTPException(404)
    # Its URL holds the version.
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(_STATIC[name], media_type=_STATIC_TYPES[name.rpartition(".")[2]], headers=headers)


async def _show_error(request: Request, error: Exception) -> Response:
    """An HTML page instead of Airflow's JSON, as it is shown in a tab."""
    status = 404
    if isinstance(error, (AnyHTTPException, ApiError)):
        status = error.status_code
    elif isinstance(error, UnreadableError):
        status = 500
    text = _MESSAGES.get(status, "This cannot be shown.")
    if isinstance(error.__cause__, FileNotShownError):
        text = _FILE_NOT_SHOWN
    return render_message(GalleryUrls(request.scope["root_path"], Scope("", "")), text, status)
