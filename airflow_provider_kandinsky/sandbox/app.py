"""The HTTP API: Segmind's paths, headers and bodies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from airflow_provider_kandinsky.sandbox.control import control_routes
from airflow_provider_kandinsky.sandbox.endpoint import CallContext, endpoint
from airflow_provider_kandinsky.sandbox.history import list_rows, one_row, read_query
from airflow_provider_kandinsky.sandbox.image_painter import paint
from airflow_provider_kandinsky.sandbox.jobs import Job
from airflow_provider_kandinsky.sandbox.output_shapes import CONTENT_TYPE, embed_images, link_images, needs_image_bytes
from airflow_provider_kandinsky.sandbox.service import ApiError, Service
from airflow_provider_kandinsky.sandbox.settings import Settings, format_validation_error
from airflow_provider_kandinsky.segmind.schemas import JobStatus

HISTORY_PATH = "/inference-request/request-history"
MODELS_PATH = "/inference-model-information/list"


def create_app(settings: Settings, clock: Callable[[], float] = time.time) -> Starlette:
    """The sandbox as an ASGI application.

    :param clock: seconds since the epoch.
    """
    app = Starlette(
        routes=[
            Route("/v1/get-user-credits", endpoint("credits", _credits)),
            Route("/v1/{model}", endpoint("generate", _generate), methods=["POST"]),
            Route("/v2/requests/{request_id}/status", endpoint("status", _status)),
            Route("/v2/requests/{request_id}", endpoint("result", _result)),
            Route("/v2/{model}", endpoint("submit", _submit), methods=["POST"]),
            Route(HISTORY_PATH, endpoint("history", _history)),
            Route(HISTORY_PATH + "/{request_id}", endpoint("history", _history_row)),
            Route(MODELS_PATH, endpoint("models", _models)),
            Route("/generations/{name}", endpoint("image", _image, keyed=False)),
            *control_routes(),
        ],
        exception_handlers={404: _not_found, 405: _method_not_allowed, ValidationError: _invalid},
    )
    app.router.redirect_slashes = False  # the service is not known to redirect
    app.state.service = Service(settings, clock)
    return app


async def _submit(context: CallContext) -> Response:
    job = await _accept(context)
    host = context.service.settings.status_url_host or _own_url(context)
    url = f"{host}/v2/requests/{job.request_id}"
    return JSONResponse(
        {
            "request_id": job.request_id,
            "status": JobStatus.QUEUED,
            "status_url": f"{url}/status",
            "response_url": url,
            "poll_url": f"{url}/status",
        }
    )


async def _generate(context: CallContext) -> Response:
    job = await _accept(context)
    service = context.service
    await context.hold(max(0.0, job.finished_at - service.clock()))
    if job.error is not None:
        return JSONResponse({"error": job.error}, 500)
    if len(job.image_names) > 1 or job.base64:
        return JSONResponse(await _result_body(context, job))
    return Response(await _image_bytes(job, 0), media_type=CONTENT_TYPE)


async def _accept(context: CallContext) -> Job:
    request, service = context.request, context.service
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(406, "Not acceptable: the body must be application/json")
    try:
        payload = json.loads(await request.body())
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        raise ApiError(400, "Invalid JSON: the body must be an object")
    job = service.submit(context.call, context.key or "", request.path_params["model"], payload)
    context.request_id = job.request_id
    return job


async def _status(context: CallContext) -> Response:
    service = context.service
    job = service.find(context.request.path_params["request_id"])
    status = job.status(service.clock())
    if status is JobStatus.FAILED:
        return _failed_response(job)
    metrics = {"inference_time": _inference_time(job)} if status.is_terminal else {}
    return JSONResponse({"status": status, "request_id": job.request_id, "metrics": metrics})


async def _result(context: CallContext) -> Response:
    service = context.service
    job = service.find(context.request.path_params["request_id"])
    status = job.status(service.clock())
    if status is JobStatus.FAILED:
        return _failed_response(job)
    if status is not JobStatus.COMPLETED:
        return JSONResponse({"status": status, "request_id": job.request_id})
    return JSONResponse(await _result_body(context, job))


async def _credits(context: CallContext) -> Response:
    paid, free = context.service.balance()
    return JSONResponse({"credits": paid, "free-credits": free})


async def _history(context: CallContext) -> Response:
    query = read_query(context.request.query_params)
    return JSONResponse(list_rows(context.service, query, _images_url(context)))


async def _history_row(context: CallContext) -> Response:
    request_id = context.request.path_params["request_id"]
    return JSONResponse(one_row(context.service, request_id, _images_url(context)))


async def _models(context: CallContext) -> Response:
    return JSONResponse({"data": [{"slug": slug} for slug in context.service.settings.models]})


async def _image(context: CallContext) -> Response:
    job, index = context.service.find_image(context.request.path_params["name"])
    context.request_id = job.request_id
    return Response(await _image_bytes(job, index), media_type=CONTENT_TYPE)


def _failed_response(job: Job) -> Response:
    return JSONResponse({"status": JobStatus.FAILED, "error": job.error}, 422)


async def _result_body(context: CallContext, job: Job) -> dict[str, Any]:
    settings, service = context.service.settings, context.service
    body: dict[str, Any] = {"status": JobStatus.COMPLETED, "error": None, "prompt": job.payload["prompt"]}
    if needs_image_bytes(settings.output_shape, as_base64=job.base64):
        images = [await _image_bytes(job, index) for index in range(len(job.image_names))]
        body |= embed_images(images, settings.output_shape)
    else:
        body |= link_images([f"{_images_url(context)}/{name}" for name in job.image_names], settings.output_shape)
    if settings.with_seed:
        body["seed"] = str(job.seed)
    if settings.with_metrics:
        queue_time = round(job.started_at - job.submitted_at, 3)
        body["timings"] = {"inference": _inference_time(job)}
        body["metrics"] = {
            "cost": job.cost,
            "remaining_credits": service.remaining,
            "inference_time": _inference_time(job),
            "queue_time": queue_time,
            "total_time": round(job.finished_at - job.submitted_at, 3),
            "retry_count": 0,
        }
    return body


def _inference_time(job: Job) -> float:
    return round(job.finished_at - job.started_at, 3)


async def _image_bytes(job: Job, index: int) -> bytes:
    # In a thread: drawing is slow, and polls must not wait for it.
    return await run_in_threadpool(paint, str(job.payload["prompt"]), job.seed, index, job.size)


def _own_url(context: CallContext) -> str:
    parts = urlsplit(str(context.request.base_url))
    return f"{parts.scheme}://{parts.netloc}"


def _images_url(context: CallContext) -> str:
    return f"{context.service.settings.public_url or _own_url(context)}/generations"


async def _invalid(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": format_validation_error(cast("ValidationError", error))}, 422)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "Not Found"}, 404)


async def _method_not_allowed(_request: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) else None
    page = "<!doctype html><html lang=en><title>405 Method Not Allowed</title><h1>Method Not Allowed</h1></html>"
    return HTMLResponse(page, 405, headers)
