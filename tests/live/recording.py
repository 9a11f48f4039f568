"""Calls to the service, each kept as it was answered, without the key and without what is other people's."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from airflow_provider_kandinsky.segmind.http.log_redaction import redact_request_logs
from airflow_provider_kandinsky.segmind.redaction import redact

#: As much as is said before anything is submitted, and as much as is ever submitted.
MAX_IMAGES = 4
_ATTEMPTS = 3
#: Seconds after which a rate limit has reset.
_RATE_WINDOW = 61.0
#: Longer texts, such as images, are shortened in what is kept.
_MAX_TEXT = 300
#: Parts of keys whose values are people's.
_PERSONAL = ("user", "email", "team", "account", "org")


class TooManyImagesError(Exception):
    """More images would be submitted than were agreed to."""


@dataclass
class Recording:
    """One account, and what it was asked.

    :param http: sends the calls, without a key of its own.
    :param sleep: how to wait.
    """

    http: httpx.AsyncClient
    api_key: str
    base_url: str
    history_url: str
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    kept: list[dict[str, Any]] = field(default_factory=list)
    images: int = 0
    own_ids: set[str] = field(default_factory=set)

    async def get(
        self, url: str, name: str, params: Any = None, *, bearer: bool = False, waits_out: bool = True
    ) -> httpx.Response:
        """A free call, which is made again if the connection is lost.

        :param waits_out: whether to wait for a rate limit to reset.
        """
        headers = {"authorization": f"Bearer {self.api_key}"} if bearer else {"x-api-key": self.api_key}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                # httpx logs the address, in which a service that lies may have put the key as a request's id.
                with redact_request_logs(self.api_key):
                    response = self._keep(name, await self.http.get(url, params=params, headers=headers))
            except httpx.TransportError:
                if attempt == _ATTEMPTS:
                    raise
                await self.sleep(5.0)
                continue
            if not (waits_out and response.status_code == 429):
                break
            await self.sleep(_RATE_WINDOW)
        return response

    async def submit(self, model: str, payload: dict[str, Any], images: int, name: str) -> httpx.Response:
        """A submission. It is counted before it is sent, and never sent again.

        :param images: how many it is for; 0 if it cannot be accepted.
        :raises TooManyImagesError: it would be more than were agreed to.
        """
        if self.images + images > MAX_IMAGES:
            raise TooManyImagesError(f"{self.images + images} images are more than {MAX_IMAGES}")
        self.images += images
        headers = {"x-api-key": self.api_key}
        with redact_request_logs(self.api_key):
            response = await self.http.post(f"{self.base_url}/v2/{model}", json=payload, headers=headers)
        if isinstance(body := parsed(response), dict) and isinstance(body.get("request_id"), str):
            self.own_ids.add(body["request_id"])
        return self._keep(name, response)

    def _keep(self, name: str, response: httpx.Response) -> httpx.Response:
        body = parsed(response)
        self.kept.append(
            {
                "name": name,
                "call": f"{response.request.method} {response.request.url.path}",
                "at": self.clock(),
                "status": response.status_code,
                "headers": {key: value for key, value in response.headers.items() if key.lower() != "set-cookie"},
                "body": response.text[:_MAX_TEXT] if body is None else body,
            }
        )
        return response

    def report(self) -> str:
        """All that was answered, as JSON."""
        return redact(json.dumps(self._struck(self.kept), indent=1, ensure_ascii=False), self.api_key)

    def _struck(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            if isinstance(value.get("request_id"), str) and value["request_id"] not in self.own_ids:
                return {name: type(each).__name__ for name, each in value.items()}
            return {name: self._struck(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self._struck(each, key) for each in value]
        if value is not None and any(part in key.lower() for part in _PERSONAL):
            return type(value).__name__
        if isinstance(value, str):
            # Redacted before it is shortened, so that no part of the key is left at the end.
            text = redact(value, self.api_key)
            return text if len(text) <= _MAX_TEXT else f"{text[:60]}… ({len(text)} characters)"
        return value


def parsed(response: httpx.Response) -> Any:
    """The JSON of a response, ``None`` if it is none."""
    try:
        return response.json()
    except ValueError:
        return None
