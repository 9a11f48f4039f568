"""What a batch would cost, before anything is submitted."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from airflow_provider_kandinsky.hooks.base import ClientHook
from airflow_provider_kandinsky.hooks.spending import priced_parameters
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.errors import ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest

#: How far back prices are read, in seconds.
_PERIOD: Final = 30 * 86_400.0
#: Seconds for which a task waits for a price that is only logged.
_SOON: Final = 2.0


@dataclass(frozen=True, slots=True)
class Quote:
    """What a batch would cost.

    :param items: how many were asked for.
    :param reused: for how many of them the images are stored already.
    :param to_submit: how many requests would be submitted for the others; equal ones are one.
    :param unit_price: dollars for one of those, on average; ``None`` if unknown.
    :param total: dollars for all of them; ``None`` if unknown.
    """

    items: int
    reused: int
    to_submit: int
    unit_price: float | None
    total: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return asdict(self)

    def __str__(self) -> str:
        price = "price unknown" if self.unit_price is None else f"${self.unit_price:g} each"
        total = "unknown" if self.total is None else f"${self.total:g}"
        return f"{self.items} items, {self.reused} reused, {self.to_submit} to submit, {price}, total: {total}"


def quote_of(items: int, reused: int, requests: Sequence[TextToImageRequest], history: Iterable[PastRequest]) -> Quote:
    """Price requests by the history.

    :param history: of the model.
    """
    costs: dict[tuple[int | None, ...], list[float]] = {}
    for past in history:
        if past.status is JobStatus.COMPLETED and past.cost is not None:
            costs.setdefault(priced_parameters(past.payload), []).append(past.cost)
    prices = [statistics.median(costs.get(priced_parameters(request.payload()), [-1.0])) for request in requests]
    if not prices:
        return Quote(items, reused, 0, None, 0.0)
    if min(prices) < 0:
        return Quote(items, reused, len(prices), None, None)
    total = sum(prices)
    return Quote(items, reused, len(prices), round(total / len(prices), 6), round(total, 6))


class QuoteHook(ClientHook):
    """The part of the hook that quotes prices."""

    def quote(
        self,
        requests: Any,
        model: str = DEFAULT_MODEL,
        *,
        output_path: str | None = None,
        reuse: bool = False,
        **defaults: Any,
    ) -> Quote:
        """What requests would cost. Nothing is submitted.

        A price is the median of the account's last 100 requests of 30 days that had the same model, size, steps and
        samples. That takes one call to the request history, which is free, and none if all is stored or there is no
        history.

        :param requests: prompts, or mappings of the generation arguments, as for the batch.
        :param model: the model's slug.
        :param output_path: where the images would be stored, rendered; for ``reuse``.
        :param reuse: whether stored images would be delivered again.
        :param defaults: generation arguments for the items without their own.
        :raises BadRequestError: an argument is rejected.
        :raises ReuseIndexError: it cannot be read what is stored.
        :raises KandinskyError: the history cannot be asked.
        """
        from airflow_provider_kandinsky.results.unstored import split_stored  # slow to import

        client = self.get_conn()
        split = split_stored(requests, defaults, client.base_url, model, output_path, reuse)
        return client.call(_quote, model, *split)

    async def aquote(
        self,
        requests: Any,
        model: str = DEFAULT_MODEL,
        *,
        output_path: str | None = None,
        reuse: bool = False,
        **defaults: Any,
    ) -> Quote:
        """The async twin of :meth:`quote`."""
        from airflow_provider_kandinsky.results.unstored import split_stored  # slow to import

        client = await self.aget_conn()
        split = await asyncio.to_thread(split_stored, requests, defaults, client.base_url, model, output_path, reuse)
        return await _quote(client, model, *split)

    def price(self, requests: Sequence[TextToImageRequest], model: str, items: int, reused: int) -> Quote:
        """As :meth:`quote`, where it is known what is stored.

        :raises KandinskyError: the history cannot be asked, or does not respond within 2 s: no task waits longer for
            what it only logs.
        """
        return self.get_conn().call(_quote_soon, model, items, reused, requests)


async def _quote(
    client: AsyncSegmindClient, model: str, items: int, reused: int, wanted: Sequence[TextToImageRequest]
) -> Quote:
    history = await client.get_history(model, time.time() - _PERIOD) if wanted and client.has_history else []
    # The history finds a model by a part of its name.
    return quote_of(items, reused, wanted, [past for past in history if past.model in ("", model)])


async def _quote_soon(
    client: AsyncSegmindClient, model: str, items: int, reused: int, wanted: Sequence[TextToImageRequest]
) -> Quote:
    try:
        async with asyncio.timeout(_SOON):
            return await _quote(client, model, items, reused, wanted)
    except TimeoutError as error:
        raise ServiceUnavailableError(f"The request history did not respond within {_SOON:g} s") from error
