"""The calls to Airflow's API within its process; Airflow's app is another one here, to be looked into."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from airflow_provider_kandinsky.gallery import api as api_module
from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError, MountedApp
from airflow_provider_kandinsky.gallery.coerce import UnreadableError

GALLERY = Path(api_module.__file__).parent


def parent_of(gallery: FastAPI, served: list[Request]) -> FastAPI:
    """An app with an API that notes who asks, and the gallery mounted in it."""
    parent = FastAPI(root_path="/below")

    @parent.middleware("http")
    async def log(request: Request, call_next: Any) -> Any:
        parent.state.logged = [*getattr(parent.state, "logged", []), request.url.path]
        return await call_next(request)

    @parent.get("/api/v2/things/{name}")
    async def thing(request: Request, name: str) -> Any:
        served.append(request)
        if name == "secret":
            raise HTTPException(403)
        if name == "broken":
            raise RuntimeError("nobody has thought of this")
        return {"name": name, "size": 2**22 * "x" if name == "huge" else 1}

    parent.mount("/gallery", gallery)
    return parent


def ask(*path: object, headers: dict[str, str] | None = None, **parameters: Any) -> tuple[Any, list[Request], FastAPI]:
    """Call the API from a route of a mounted app."""
    gallery, served = MountedApp(), []
    parent = parent_of(gallery, served)

    @gallery.get("/page")
    async def page(request: Request) -> Any:
        try:
            return {"answer": await AirflowApi(request).get(*path, **parameters)}
        except ApiError as error:
            return {"status": error.status_code}
        except UnreadableError:
            return {"status": "unreadable"}

    async def get() -> Any:
        transport = httpx.ASGITransport(parent)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return (await client.get("/below/gallery/page", headers=headers)).json()

    return asyncio.run(get()), served, parent


def test_the_reader_s_own_rights_go_with_it_and_nothing_of_the_page_s_answer() -> None:
    headers = {"Cookie": "_token=t", "Authorization": "Bearer b", "If-None-Match": '"x"', "Range": "bytes=0-1"}
    answer, (request,), _ = ask("api", "v2", "things", "one", headers=headers, state=["a", "b"], limit=2)
    assert answer == {"answer": {"name": "one", "size": 1}}
    assert (request.headers["cookie"], request.headers["authorization"]) == ("_token=t", "Bearer b")
    assert "if-none-match" not in request.headers
    assert "range" not in request.headers
    assert request.query_params.multi_items() == [("state", "a"), ("state", "b"), ("limit", "2")]


def test_it_is_logged_once_with_the_page() -> None:
    _, served, parent = ask("api", "v2", "things", "one")
    assert len(served) == 1
    assert parent.state.logged == ["/below/gallery/page"]


@pytest.mark.parametrize("name", ["manual__2026-01-01T00:00:00+00:00", "a b%2Fc", "~", "ä?x=1#y"])
def test_names_arrive_as_they_are(name: str) -> None:
    answer, _, _ = ask("api", "v2", "things", name)
    assert answer["answer"]["name"] == name


@pytest.mark.parametrize(("name", "status"), [("secret", 403), ("broken", 500), ("huge", "unreadable")])
def test_what_is_not_answered(name: str, status: object, caplog: pytest.LogCaptureFixture) -> None:
    answer, _, _ = ask("api", "v2", "things", name)
    assert answer == {"status": status}
    assert ("nobody has thought of this" in caplog.text) == (name == "broken")


def test_what_is_not_there() -> None:
    assert ask("api", "v2", "nothing")[0] == {"status": 404}


def test_the_gallery_reads_nothing_of_airflow_s_tables() -> None:
    imported = set()
    for file in GALLERY.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    assert "fastapi" in imported
    tables = ("airflow.models", "airflow.utils.session", "airflow.settings", "sqlalchemy")
    assert [name for name in imported if name.startswith(tables)] == []
    # Nor does it ask over the network, which would carry the reader's token.
    assert [name for name in imported if name.split(".")[0] in ("requests", "urllib.request", "http")] == []
