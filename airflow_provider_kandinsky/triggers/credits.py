"""Wait for credits in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.shared_client import shared_client
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, KandinskyError
from airflow_provider_kandinsky.triggers.min_lifetime import ensure_min_lifetime


class KandinskyCreditsTrigger(BaseTrigger):
    """Poll the credits until there are enough, an error is final, or the deadline has come, and fire once.

    The event holds ``credits``, how many are left (``None`` if the service has not said so by the deadline), or
    ``error``, see :meth:`~airflow_provider_kandinsky.segmind.errors.KandinskyError.to_dict`. Like
    :class:`~.job.KandinskyJobTrigger` it can be restarted from its arguments at any time.

    :param minimum_credits: how many are enough.
    :param kandinsky_conn_id: the connection; the key is looked up each time it is used.
    :param poke_interval: seconds between polls.
    :param deadline: when to stop waiting, seconds since the epoch.
    """

    def __init__(
        self,
        minimum_credits: float,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        poke_interval: float = 60.0,
        deadline: float = 0.0,
        **_unknown_kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is not typed
        self.minimum_credits = minimum_credits
        self.kandinsky_conn_id = kandinsky_conn_id
        self.poke_interval = poke_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, from which any triggerer can run this at any time."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "minimum_credits": self.minimum_credits,
                "kandinsky_conn_id": self.kandinsky_conn_id,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once."""
        started = asyncio.get_running_loop().time()
        event = await self._wait()
        await ensure_min_lifetime(self, started)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _wait(self) -> dict[str, Any]:
        credits_left: float | None = None
        while True:
            try:
                credits_left = await self._get_credits()
            except KandinskyError as error:
                if not error.retryable:
                    return {"error": error.to_dict()}
                self.log.warning("Could not get the credits; polling again later: %s", error)
            else:
                if credits_left >= self.minimum_credits:
                    return {"credits": credits_left}
            if (time_left := self.deadline - time.time()) <= 0:
                return {"credits": credits_left}
            await asyncio.sleep(min(self.poke_interval, time_left))

    async def _get_credits(self) -> float:
        async with shared_client(self.kandinsky_conn_id) as client:
            try:
                return (await client.get_credits()).total
            except AuthenticationError:
                if not await client.refresh_key():
                    raise
            return (await client.get_credits()).total
