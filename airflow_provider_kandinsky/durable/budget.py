"""``daily_budget``: what an account may spend in a day, held against its request history before each submission.

Each process keeps to it by itself, with what the history says. What several processes submit at the same moment, none
of them sees of the others: ``docs/money.md`` says how far that goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from airflow_provider_kandinsky.durable.errors import BudgetExceededError
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.messages import BUDGET_NEEDS_HISTORY
from airflow_provider_kandinsky.hooks.spending import DAY, key_of, merged, priced_parameters, read_pages
from airflow_provider_kandinsky.segmind.errors import ConfigurationError
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest
from airflow_provider_kandinsky.segmind.wire.values import integer_in

log = logging.getLogger(__name__)

#: For how many seconds what the history says is believed, and for how many of this process's submissions.
_MAX_AGE: Final = 60.0
_MAX_SUBMISSIONS: Final = 20
#: The same, as long as no price is known.
_MAX_AGE_WITHOUT_PRICE: Final = 5.0
#: How far back a price is searched for, if nothing was made today.
_PRICE_PERIOD: Final = 7 * DAY


@dataclass(slots=True)
class _Submission:
    """One of this process.

    :param request_id: once it was accepted; without one it may have been.
    """

    price: float
    request_id: str | None = None


class DailyBudget:
    """What may still be spent today, as one process knows it. A day is one of UTC.

    :param hook: the account.
    :param model: the slug that is submitted to.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(self, hook: KandinskyHook, model: str, *, clock: Callable[[], float] = time.time) -> None:
        self._hook = hook
        self._model = model
        self._clock = clock
        self._day = 0.0
        self._read_at = float("-inf")
        self._submitted_since = 0
        self._requests: dict[str, PastRequest] = {}
        self._earlier: list[PastRequest] = []
        self._own: dict[str, _Submission] = {}
        self._prices: dict[tuple[Any, ...], float | None] = {}

    async def reserve(self, items: Sequence[Item]) -> tuple[Sequence[Item], BudgetExceededError | None]:
        """Take as many of the items as the budget allows, from the first one on, and reserve their prices.

        :return: those, and the error for the rest, if there is any.
        :raises ConfigurationError: the connection has no history.
        :raises KandinskyError: the history cannot be read. Nothing may be submitted then.
        """
        dollars = self._hook.settings.daily_budget
        if dollars is None:
            return items, None
        await self._refresh()
        spent = self._spent()
        for number, item in enumerate(items):
            price = self._price(item.request.payload())
            if price is None:
                log.info("No price is known yet of what is submitted; only what was spent counts for daily_budget")
            # Amounts are sums of cents' parts.
            if spent >= dollars or round(spent + (price or 0.0) - dollars, 6) > 0:
                return items[:number], self._exceeded(dollars, spent, price)
            spent += price or 0.0
            self._own[item.key] = _Submission(price or 0.0)
            self._submitted_since += 1
        return items, None

    def accepted(self, item: Item, request_id: str) -> None:
        """It was submitted, and is in the history by now or soon."""
        if item.key in self._own:
            self._own[item.key].request_id = request_id

    def refused(self, item: Item) -> None:
        """It was not submitted."""
        self._own.pop(item.key, None)

    async def _refresh(self) -> None:
        now = self._clock()
        day = now // DAY * DAY
        if day != self._day:
            self._day, self._read_at = day, float("-inf")
            self._requests, self._own = {}, {}
        has_price = any(row.cost for row in (*self._requests.values(), *self._earlier) if row.model == self._model)
        max_age = _MAX_AGE if has_price else _MAX_AGE_WITHOUT_PRICE
        if 0 <= now - self._read_at < max_age and self._submitted_since < _MAX_SUBMISSIONS:
            return
        client = await self._hook.aget_conn()
        if not client.has_history:
            raise ConfigurationError(BUDGET_NEEDS_HISTORY)
        self._prices.clear()
        unfinished = {key for key, row in self._requests.items() if not row.status.is_terminal}
        async for rows in read_pages(client, day):
            is_new = False
            for row in rows:
                if row.created_at is not None and row.created_at < day:
                    continue
                before = self._requests.get(key_of(row))
                self._requests[key_of(row)] = merged(before, row)
                is_new = is_new or before is None
                unfinished.discard(key_of(row))
            # What is older was read before, and is final.
            if not (is_new or unfinished):
                break
        if not has_price and not any(row.cost for row in self._requests.values() if row.model == self._model):
            self._earlier = await client.get_history(self._model, day - _PRICE_PERIOD)
        self._read_at, self._submitted_since = now, 0

    def _spent(self) -> float:
        """What was billed today, and what is in flight at the known price."""
        spent = 0.0
        for row in self._requests.values():
            if row.cost is not None:
                spent += row.cost
            elif row.status is not JobStatus.FAILED:
                spent += self._price(row.payload, row.model) or 0.0
        own = (each.price for each in self._own.values() if each.request_id not in self._requests)
        return round(spent + sum(own), 6)

    def _price(self, payload: Any, model: str | None = None) -> float | None:
        """What a request will cost; ``None`` if that is not known."""
        key = (model or self._model, *priced_parameters(payload))
        if key not in self._prices:
            self._prices[key] = self._find_price(payload, model)
        return self._prices[key]

    def _find_price(self, payload: Any, model: str | None) -> float | None:
        """The median of what equal requests have cost; else, by their samples, of what those of the model have."""
        rows = [
            row
            for row in (*self._requests.values(), *self._earlier)
            if row.model == (model or self._model) and row.status is JobStatus.COMPLETED and row.cost
        ]
        equal = [row.cost for row in rows if priced_parameters(row.payload) == priced_parameters(payload) and row.cost]
        if equal:
            return median(equal)
        each = [row.cost / _samples(row.payload) for row in rows if row.cost]
        return median(each) * _samples(payload) if each else None

    def _exceeded(self, dollars: float, spent: float, price: float | None) -> BudgetExceededError:
        if price is not None and round(price - dollars, 6) > 0:
            return BudgetExceededError(
                f"This would be ${price:g}, which is more than daily_budget={dollars:g} dollars, so no day allows it. "
                "Nothing was submitted for it"
            )
        end = self._day + DAY
        until = datetime.fromtimestamp(end, UTC).isoformat(timespec="minutes")
        this = "an unknown price" if price is None else f"${price:g}"
        return BudgetExceededError(
            f"The daily budget is used up: ${spent:g} of daily_budget={dollars:g} dollars are spent or in flight, "
            f"and this would be {this}. Nothing was submitted for it; the day ends at {until}",
            until=end,
        )


def _samples(payload: Any) -> int:
    return max(1, integer_in(payload.get("samples")) or 1)
