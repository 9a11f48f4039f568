"""The gallery as a whole, and one page of it. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from airflow_provider_kandinsky.gallery.cards import Card, CardState

#: So many cards are on a page.
PAGE_SIZE: Final = 60


@dataclass(frozen=True, slots=True)
class Totals:
    """What all cards come to, whatever page they are on.

    :param cost: in US dollars; of each request once, however many cards tell of it.
    :param unknown_costs: of so many requests the service has not told the cost.
    """

    pictures: int
    cost: float
    unknown_costs: int
    failures: int
    under_way: int

    @classmethod
    def of(cls, cards: Sequence[Card]) -> Totals:
        """Sum up."""
        costs = {card.request_id or index: card.cost for index, card in enumerate(cards) if card.pictures or card.cost}
        return cls(
            pictures=sum(len(card.pictures) for card in cards),
            cost=sum(cost for cost in costs.values() if cost is not None),
            unknown_costs=sum(cost is None for cost in costs.values()),
            failures=sum(card.failures for card in cards),
            under_way=sum(card.state is CardState.UNDER_WAY for card in cards),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the cards.

    :param groups: the cards of each task that has any on this page, by its id.
    :param number: from 1.
    :param count: how many pages there are; at least 1.
    """

    groups: tuple[tuple[str, tuple[Card, ...]], ...]
    number: int
    count: int

    @classmethod
    def of(cls, cards: Sequence[Card], number: int) -> Page:
        """Cut out a page; the nearest one there is, for what was on the last page may have been cleared."""
        count = max(1, -(-len(cards) // PAGE_SIZE))
        number = min(max(1, number), count)
        shown = cards[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        groups = groupby(shown, key=lambda card: card.record.task_id)
        return cls(tuple((task_id, tuple(group)) for task_id, group in groups), number, count)
