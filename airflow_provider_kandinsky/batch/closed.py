"""The part of a large batch that is done: read again only when the batch is delivered.

A deferrable batch resumes in a new process after each hand-over. Without this each would read the whole record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from airflow_provider_kandinsky.compat.stored_values import from_stored

#: Fewer chunks than this are read each time.
MIN_CHUNKS: Final = 25
#: With more ranges than this the items were not done in their order, and nothing more is closed.
_MAX_RANGES: Final = 500


@dataclass(frozen=True, slots=True)
class Closed:
    """Chunks of the ledger in which nothing will change in this try.

    :param try_number: the task instance's.
    :param chunks: how many, from the first one on.
    :param ranges: which items are in them: first and last, by their places among the items.
    :param cost: dollars, as far as the service has reported them.
    :param succeeded: how many rows of the requests are done.
    :param failed: how many have failed.
    """

    try_number: int
    chunks: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    cost: float = 0.0
    succeeded: int = 0
    failed: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The way back from :meth:`to_dict`."""
        ranges = tuple((first, last) for first, last in values["ranges"])
        return from_stored(cls, {**values, "ranges": ranges})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the task state store."""
        return asdict(self) | {"ranges": [list(each) for each in self.ranges]}

    @property
    def places(self) -> set[int]:
        """The places of all its items."""
        return {place for first, last in self.ranges for place in range(first, last + 1)}

    def ranges_with(self, places: Iterable[int]) -> tuple[tuple[int, int], ...] | None:
        """Its ranges with more items in them; ``None`` if they are too many."""
        ranges: list[tuple[int, int]] = []
        for first, last in sorted([*self.ranges, *((place, place) for place in places)]):
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
        return tuple(ranges) if len(ranges) <= _MAX_RANGES else None
