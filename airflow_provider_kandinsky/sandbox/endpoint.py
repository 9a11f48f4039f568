"""One call, from its arrival to its answer: where faults strike and where it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from airflow_provider_kandinsky.sandbox.faults import Call, Fault
from airflow_provider_kandinsky.sandbox.service import Refusal
from airflow_provider_kandinsky.sandbox.state import State

#: Where the server puts a function into the ASGI scope that closes the connection at once.
ABORT = "kandinsky_sandbox.abort"


@dataclass(slots=True)
class Exchange:
    """What an endpoint is given: the call, and the life of the sandbox that it came into."""

    request: Request
    backend: State
    call: Call
    request_id: str | None

    @property
    def key(self) -> str | None:
        """The API key; a bearer token is none."""
        return self.request.headers.get("x-api-key")

    async def hold(self, seconds: float) -> bool:
        """Wait, unless the client goes away.

        :return: whether the client is still there.
        """
        await self.request.body()  # what comes after the body is the client's leaving
        try:
            async with asyncio.timeout(seconds):
                while (await self.request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return True
        return False


class DroppedConnection(Response):
    """No answer: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][ABORT]()
        # Returning before the server has noticed would be taken for an application that forgot to answer.
        while (await receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[Exchange], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(call: Call, effect: Handler, *, keyed: bool = True) -> Endpoint:
    """Wrap what a call does into what happens to every call.

    :param keyed: whether the call needs an API key.
    """

    async def answer(request: Request) -> Response:
        backend: State = request.app.state.stage.backend
        exchange = Exchange(request, backend, call, request.path_params.get("request_id"))
        arrived_at = backend.service.clock()

        async def act() -> Response:
            try:
                if keyed:
                    backend.service.admit(call, exchange.key)
                return await effect(exchange)
            except Refusal as refusal:
                return JSONResponse({"error": refusal.error}, refusal.status, refusal.headers)

        fault = backend.faults.take(call, backend.settings)
        response = await (_apply_fault(fault, exchange, act) if fault else act())
        backend.calls.add(
            call=call,
            request_id=exchange.request_id,
            at=arrived_at,
            status=None if isinstance(response, DroppedConnection) else response.status_code,
            key_present=exchange.key is not None,
        )
        return response

    return answer


async def _apply_fault(fault: Fault, exchange: Exchange, act: Callable[[], Awaitable[Response]]) -> Response:
    response = await act() if fault.after else None
    if fault.stall and not await exchange.hold(fault.stall):
        return DroppedConnection()
    if fault.replaces_answer:
        return _replacement(fault)
    response = response or await act()
    response.headers.update(fault.headers)
    return response


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
