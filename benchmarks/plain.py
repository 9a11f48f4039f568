"""What is written in five minutes: a deferrable operator whose trigger has a client of its own and a fixed interval.

It knows of no error, no limit and no retry; what it has is the least that such an operator can cost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
from airflow.sdk import BaseOperator, Context
from airflow.triggers.base import BaseTrigger, TriggerEvent

MODEL = "kandinsky2.1-txt2im"


def _settings() -> dict[str, Any]:
    return {"base_url": os.environ["SEGMIND_URL"], "headers": {"x-api-key": os.environ["SEGMIND_API_KEY"]}}


class PlainTrigger(BaseTrigger):
    def __init__(self, request_id: str, interval: float = 1.0) -> None:
        super().__init__()
        self.request_id = request_id
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "benchmarks.plain.PlainTrigger", {"request_id": self.request_id, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with httpx.AsyncClient(**_settings()) as client:
            while (await client.get(f"/v2/requests/{self.request_id}/status")).json()["status"] != "COMPLETED":  # noqa: ASYNC110
                await asyncio.sleep(self.interval)
            result = (await client.get(f"/v2/requests/{self.request_id}")).json()
        yield TriggerEvent(result["output"])


class PlainOperator(BaseOperator):
    template_fields = ("prompt",)

    def __init__(self, *, prompt: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt

    def execute(self, context: Context) -> None:
        with httpx.Client(**_settings()) as client:
            job = client.post(f"/v2/{MODEL}", json={"prompt": self.prompt}).json()
        self.defer(trigger=PlainTrigger(job["request_id"]), method_name="execute_complete")

    def execute_complete(self, context: Context, event: str) -> str:
        return event
