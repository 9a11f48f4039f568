"""The gallery as a whole, and one page of it. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from airflow_provider_kandinsky.gallery.cards import Card
from airflow_provider_kandinsky.gallery.items import Item, State

#: So many cards are on a page.
PAGE_SIZE: Final = 60


@dataclass(frozen=True, slots=True)
class Totals:
    """What all items come to, whatever page they are on.

    :param cost: in US dollars; of each request once, however many items tell of it.
    :param unknown_costs: of so many requests the service has not told the cost.
    :param unlisted: so many generations are not listed one by one; their pictures are not counted.
    """

    pictures: int = 0
    cost: float = 0.0
    unknown_costs: int = 0
    failures: int = 0
    under_way: int = 0
    unlisted: int = 0

    @classmethod
    def of(cls, items: Sequence[Item]) -> Totals:
        """Sum up."""
        pictures = failures = under_way = unlisted = 0
        costs: dict[str | int, float | None] = {}
        for index, item in enumerate(items):
            count, cost, state = len(item.addresses), item.cost, item.state
            pictures += count
            unlisted += item.unlisted
            failures += item.failures if item.unlisted else state is State.FAILED
            under_way += state is State.UNDER_WAY
            if count or cost:
                costs[item.request_id or index] = cost
        known = [cost for cost in costs.values() if cost is not None]
        return cls(pictures, sum(known), len(costs) - len(known), failures, under_way, unlisted)


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Which of the items are on a page.

    :param number: from 1.
    :param count: how many pages there are; at least 1.
    """

    number: int
    count: int

    @classmethod
    def nearest(cls, number: int, items: int) -> PageNumber:
        """The nearest page there is, for what was on the last page may have been cleared.

        :param items: how many there are.
        """
        count = max(1, -(-items // PAGE_SIZE))
        return cls(min(max(1, number), count), count)

    def cut(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items that are on this page."""
        return items[(self.number - 1) * PAGE_SIZE : self.number * PAGE_SIZE]


def by_task(cards: Sequence[Card]) -> list[tuple[str, list[Card]]]:
    """The cards of each task that has any, by its id."""
    return [(task_id, list(group)) for task_id, group in groupby(cards, key=lambda card: card.record.task_id)]


def places_of(items: Sequence[Item]) -> list[tuple[Item, int]]:
    """Where each picture is: its item, and its index there."""
    return [(item, index) for item in items for index in range(len(item.addresses))]
