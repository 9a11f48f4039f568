"""The sandbox's own routes, under ``/_sandbox/``: read the records, inject faults, change settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_kandinsky.sandbox.faults import Fault
from airflow_provider_kandinsky.sandbox.service import Service

_CHANGES = TypeAdapter(dict[str, Any])

PREFIX = "/_sandbox"


class _CallFilters(BaseModel):
    call: str | None = None
    request_id: str | None = None
    status: int | None = None


def control_routes() -> list[Route]:
    """The routes. They need no key and are not logged as calls; the app turns their validation errors into a 422."""
    return [
        Route(f"{PREFIX}/submissions", _submissions),
        Route(f"{PREFIX}/calls", _calls),
        Route(f"{PREFIX}/faults", _faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{PREFIX}/settings", _settings, methods=["GET", "PATCH"]),
        Route(f"{PREFIX}/reset", _reset, methods=["POST"]),
    ]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _listed(request: Request, name: str, rows: list[dict[str, Any]]) -> Response:
    counted = request.query_params.get("count", "0") not in ("", "0", "false")
    return JSONResponse({"count": len(rows)} if counted else {name: rows})


async def _submissions(request: Request) -> Response:
    return _listed(request, "submissions", _service(request).submissions())


async def _calls(request: Request) -> Response:
    filters = _CallFilters.model_validate(dict(request.query_params))
    rows = _service(request).calls.find(filters.call, filters.request_id, filters.status)
    return _listed(request, "calls", rows)


async def _faults(request: Request) -> Response:
    faults = _service(request).faults
    if request.method == "POST":
        faults.add(Fault.model_validate_json(await request.body()))
    elif request.method == "DELETE":
        faults.clear()
    return JSONResponse({"faults": faults.pending()})


async def _settings(request: Request) -> Response:
    service = _service(request)
    if request.method == "PATCH":
        service.configure(_CHANGES.validate_json(await request.body()))
    return JSONResponse(service.settings.model_dump(mode="json"))


async def _reset(request: Request) -> Response:
    request.app.state.service = _service(request).restarted()
    return Response(status_code=204)
