"""What these tests hold on to: a service core with a clock in hand, and a client as plain as can be."""

from __future__ import annotations

from typing import Any

import httpx

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.service import Service
from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY, Settings
from airflow_provider_kandinsky.segmind.constants import IDLE_CONNECTION_LIFETIME

MODEL = "kandinsky2.1-txt2im"


class Clock:
    """An hour passes as fast as it is written down."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


class Core:
    """A service core with a clock in hand."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.service = Service(Settings(**settings), self.clock)

    def submit(self, prompt: str = "a cat", **parameters: Any) -> str:
        return self.service.submit("submit", DEFAULT_KEY, MODEL, {"prompt": prompt, **parameters}).request_id

    def status(self, request_id: str) -> str:
        return self.service.find(request_id).status(self.clock.now).value


class Caller:
    """A client as simple as can be: no retries, nothing read into an answer."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.http = httpx.Client(
            base_url=sandbox.url,
            headers={"x-api-key": sandbox.api_key},
            trust_env=False,
            verify=False,  # there is no TLS, and to read all certificates for it takes 20 ms
            limits=httpx.Limits(keepalive_expiry=IDLE_CONNECTION_LIFETIME),
        )

    def post(
        self, prompt: str | None = "a cat", version: str = "v2", timeout: float = 5, **more: Any
    ) -> httpx.Response:
        body = ({} if prompt is None else {"prompt": prompt}) | more
        return self.http.post(f"/{version}/{MODEL}", json=body, timeout=timeout)

    def submit(self, prompt: str = "a cat", **more: Any) -> str:
        answer = self.post(prompt, **more)
        assert answer.status_code == 200, answer.text
        request_id: str = answer.json()["request_id"]
        return request_id

    def status(self, request_id: str) -> httpx.Response:
        return self.http.get(f"/v2/requests/{request_id}/status")

    def result(self, request_id: str) -> httpx.Response:
        return self.http.get(f"/v2/requests/{request_id}")

    def credits(self) -> dict[str, float]:
        credits: dict[str, float] = self.http.get("/v1/get-user-credits").json()
        return credits

    def history(self, **query: Any) -> httpx.Response:
        return self.http.get("/inference-request/request-history", params=query)
