"""Airflow's REST API, called inside the API server that the gallery is mounted in, as whoever asks for a page.

A call goes from one app to the other in memory: no socket is opened, so what authenticates the reader (a cookie, a
token) stays in this process. Airflow checks the reader's rights in each call, as for any other client. Where it keeps
what it answers, which differs from release to release, is left to it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request

from airflow_provider_kandinsky.gallery.coerce import NestedTooDeeplyError, parse

log = logging.getLogger(__name__)

#: Where :class:`MountedApp` leaves the app that it is mounted in.
_PARENT: Final = "kandinsky_gallery.parent"
#: Answers that are longer than this are not kept, in bytes.
_LONGEST_ANSWER: Final = 4 * 2**20
#: Headers of the page's request that are about its own answer.
_NOT_FORWARDED: Final = (b"accept", b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")


class ApiError(Exception):
    """Airflow's API has not answered with what was asked for.

    :param status: HTTP status code.
    """

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"Airflow's API answered {status} to GET {path}")
        self.status = status


class UnreadableAnswerError(Exception):
    """The answer is too long, or nested too deeply."""


class MountedApp(FastAPI):
    """An app that knows which one it is mounted in."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a request."""
        # The parent's entry is replaced by our own on the way to a route.
        scope[_PARENT] = scope.get("app")
        await super().__call__(scope, receive, send)


class AirflowApi:
    """Airflow's public REST API, with the rights of one reader.

    :param request: the request for a page of an app that is mounted in Airflow's.
    """

    def __init__(self, request: Request) -> None:
        self._app = _without_middlewares(request.scope[_PARENT])
        self._scope = request.scope

    async def get(self, *path: object, **parameters: Any) -> Any:
        """Ask for a resource.

        :param path: the segments of its path, as they are.
        :param parameters: of the query; a list is one parameter several times.
        :return: its JSON.
        :raises ApiError: Airflow refuses, or has no such thing.
        :raises UnreadableAnswerError: the answer is longer than 4 MiB, or nested too deeply.
        """
        url = f"{self._app.root_path}/" + "/".join(map(str, path))
        answer = _Answer()
        try:
            await self._app(self._scope_of(url, urlencode(parameters, doseq=True)), _receive, answer.take)
        except RecursionError:
            raise UnreadableAnswerError from None
        except Exception as error:
            log.warning("GET %s failed within Airflow's API", url, exc_info=True)
            raise ApiError(500, url) from error
        if answer.status != 200:
            raise ApiError(answer.status, url)
        return answer.json()

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


class _Answer:
    """What an app sends."""

    def __init__(self) -> None:
        self.status = 500
        self._body = bytearray()
        self._is_too_long = False

    async def take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body" and not self._is_too_long:
            self._body += message.get("body", b"")
            self._is_too_long = len(self._body) > _LONGEST_ANSWER

    def json(self) -> Any:
        if self._is_too_long:
            raise UnreadableAnswerError
        try:
            return parse(bytes(self._body))
        except NestedTooDeeplyError as error:
            raise UnreadableAnswerError from error


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@lru_cache(maxsize=1)
def _without_middlewares(parent: FastAPI) -> FastAPI:
    """The same routes, which check the reader's rights themselves. The page's own request has passed the middlewares,
    and one access log entry for it is enough."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, root_path=parent.root_path)
    app.router = parent.router
    app.state = parent.state
    app.exception_handlers = parent.exception_handlers
    app.dependency_overrides = parent.dependency_overrides
    return app
