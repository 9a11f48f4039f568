"""In-process client of Airflow's REST API, with the rights of the user who asks for a page.

The gallery is mounted in the API server and calls it in memory. No socket is opened, so the user's cookie or token
stays in this process. Airflow checks the user's rights in each call, as for any other client. The gallery reads no
tables of Airflow's: those differ from release to release, and the API does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request

from airflow_provider_kandinsky.gallery.coerce import UnreadableError, parse

log = logging.getLogger(__name__)

#: ASGI scope key under which :class:`MountedApp` keeps the app that it is mounted in.
_PARENT: Final = "kandinsky_gallery.parent"
#: Longer responses are discarded.
_MAX_RESPONSE_BYTES: Final = 4 * 2**20
#: Request headers that negotiate the page's own response.
_NOT_FORWARDED: Final = (b"accept", b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")


class ApiError(Exception):
    """Airflow's API did not respond with 200.

    :param status_code: HTTP status code.
    """

    def __init__(self, status_code: int, path: str) -> None:
        super().__init__(f"Airflow's API responded {status_code} to GET {path}")
        self.status_code = status_code


class MountedApp(FastAPI):
    """An app that keeps a reference to the app it is mounted in."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a request."""
        # FastAPI replaces the parent's entry by this app's before it calls a route.
        scope[_PARENT] = scope.get("app")
        await super().__call__(scope, receive, send)


class AirflowApi:
    """Airflow's REST API, with the rights of one user.

    :param request: the request for a page of an app that is mounted in Airflow's.
    """

    def __init__(self, request: Request) -> None:
        self._app = _without_middlewares(request.scope[_PARENT])
        self._scope = request.scope

    async def get(self, *path: object, **parameters: Any) -> Any:
        """Send a GET request.

        :param path: the unquoted segments of the path.
        :param parameters: of the query; a list repeats the parameter.
        :return: the response's JSON.
        :raises ApiError: the status is not 200.
        :raises UnreadableError: the response is longer than 4 MiB, or its JSON is nested too deeply.
        """
        url = f"{self._app.root_path}/" + "/".join(map(str, path))
        response = _ResponseBuffer()
        try:
            await self._app(self._scope_of(url, urlencode(parameters, doseq=True)), _receive, response.receive)
        except RecursionError:
            raise UnreadableError from None
        except Exception as error:
            log.warning("GET %s failed within Airflow's API", url, exc_info=True)
            raise ApiError(500, url) from error
        if response.status_code != 200:
            raise ApiError(response.status_code, url)
        return response.json()

    def _scope_of(self, path: str, query: str) -> dict[str, Any]:
        headers: Iterable[tuple[bytes, bytes]] = self._scope["headers"]
        kept = ("type", "asgi", "http_version", "scheme", "server", "client", "extensions")
        return {key: self._scope[key] for key in kept if key in self._scope} | {
            "method": "GET",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "root_path": self._app.root_path,
            "headers": [header for header in headers if header[0].lower() not in _NOT_FORWARDED],
            "state": {},
        }


class _ResponseBuffer:
    """Collects the ASGI messages of one response."""

    def __init__(self) -> None:
        self.status_code = 500
        self._body = bytearray()

    async def receive(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
        elif message["type"] == "http.response.body" and not self._is_too_long():
            self._body += message.get("body", b"")

    def json(self) -> Any:
        if self._is_too_long():
            raise UnreadableError
        return parse(bytes(self._body))

    def _is_too_long(self) -> bool:
        return len(self._body) > _MAX_RESPONSE_BYTES


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@lru_cache(maxsize=1)
def _without_middlewares(parent: FastAPI) -> FastAPI:
    """Airflow's routes without its middlewares: the page's own request has passed them and is in the access log.

    The routes check the user's rights themselves.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, root_path=parent.root_path)
    app.router = parent.router
    app.state = parent.state
    app.exception_handlers = parent.exception_handlers
    app.dependency_overrides = parent.dependency_overrides
    return app
