"""Wraps every route: authentication, faults and the call log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from airflow_provider_kandinsky.sandbox.faults import Call, Fault
from airflow_provider_kandinsky.sandbox.service import ApiError, Service

#: ASGI extension, set by the server: a function that closes the connection.
ABORT = "kandinsky_sandbox.abort"


@dataclass(slots=True)
class CallContext:
    """One call, and the service it started with."""

    request: Request
    service: Service
    call: Call
    request_id: str | None

    @property
    def key(self) -> str | None:
        """The ``x-api-key`` header; bearer tokens are not accepted."""
        return self.request.headers.get("x-api-key")

    async def hold(self, seconds: float) -> bool:
        """Wait until the time is over or the client disconnects.

        :return: whether the client is still connected.
        """
        await self.request.body()  # so that the next message is the disconnect
        try:
            async with asyncio.timeout(seconds):
                while (await self.request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return True
        return False


class DroppedConnection(Response):
    """Closes the connection without a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][ABORT]()
        # Returning before the disconnect would make uvicorn log a missing response.
        while (await receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[CallContext], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(call: Call, handler: Handler, *, keyed: bool = True) -> Endpoint:
    """Wrap the handler of a call.

    :param keyed: whether the call needs an API key.
    """

    async def respond(request: Request) -> Response:
        service: Service = request.app.state.service
        context = CallContext(request, service, call, request.path_params.get("request_id"))
        arrived_at = service.clock()

        async def handle() -> Response:
            try:
                if keyed:
                    service.admit(call, context.key)
                return await handler(context)
            except ApiError as error:
                return JSONResponse({"error": error.error}, error.status, error.headers)

        fault = service.faults.take(call, service.settings)
        response = await (_apply_fault(fault, context, handle) if fault else handle())
        service.calls.add(
            call=call,
            request_id=context.request_id,
            at=arrived_at,
            status=None if isinstance(response, DroppedConnection) else response.status_code,
            key_present=context.key is not None,
        )
        return response

    return respond


async def _apply_fault(fault: Fault, context: CallContext, handle: Callable[[], Awaitable[Response]]) -> Response:
    response = await handle() if fault.after else None
    if fault.stall and not await context.hold(fault.stall):
        return DroppedConnection()
    if fault.replaces_response:
        return _replacement(fault)
    response = response or await handle()
    if fault.rows and response.status_code == 200:
        response = _with_rows_changed(response, fault)
    response.headers.update(fault.headers)
    return response


def _with_rows_changed(response: Response, fault: Fault) -> Response:
    body = fault.change_rows(json.loads(bytes(response.body)))
    return JSONResponse({"error": "Not Found"}, 404) if body is None else JSONResponse(body)


def _replacement(fault: Fault) -> Response:
    if fault.drop:
        return DroppedConnection()
    status = fault.status or 200
    body = fault.body
    if body is None and status != 204:
        body = {"error": HTTPStatus(status).phrase if status in set(HTTPStatus) else f"status {status}"}
    if body is None or isinstance(body, str):
        return Response(body, status, media_type=_media_type(body or ""), headers=fault.headers)
    return JSONResponse(body, status, fault.headers)


def _media_type(text: str) -> str:
    kinds = {"<": "text/html", "{": "application/json", "[": "application/json"}
    return kinds.get(text.lstrip()[:1], "text/plain")
