"""Sum up failures by their causes, for whoever is on call. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airflow_provider_kandinsky.gallery.coerce import mapping, text
from airflow_provider_kandinsky.gallery.items import Item

#: Causes that are named; further ones are counted together. DAG authors can write any.
_MAX_CAUSES: Final = 12
#: Failures of a cause whose cards are linked.
_MAX_LINKED: Final = 50


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures with the same type of error.

    :param error_type: ``None`` if it is not known, or not among the most frequent ones.
    :param count: how many there are.
    :param items: the first of them.
    """

    error_type: str | None
    count: int
    items: tuple[Item, ...] = ()

    @property
    def unlinked(self) -> int:
        """How many of them are not among :attr:`items`."""
        return self.count - len(self.items)


def sum_up_failures(items: Sequence[Item], failures: int) -> list[Cause]:
    """The causes of failures, the most frequent first and what is not known last.

    :param items: those that were read, failed or not.
    :param failures: how many there are in all; of those that were not read, no cause is known.
    """
    counts: dict[str | None, int] = {}
    found: dict[str | None, list[Item]] = {}
    for item in items:
        if item.has_failed:
            cause = text(mapping(item.row.get("error")).get("type"))
            counts[cause] = counts.get(cause, 0) + max(item.failures, 1)
            found.setdefault(cause, []).append(item)
    named = sorted((cause for cause in counts if cause), key=lambda cause: (-counts[cause], cause))[:_MAX_CAUSES]
    causes = [Cause(cause, counts[cause], tuple(found[cause][:_MAX_LINKED])) for cause in named]
    others = [item for cause, of_cause in found.items() if cause not in named for item in of_cause]
    unknown = max(failures, sum(counts.values())) - sum(cause.count for cause in causes)
    return causes + ([Cause(None, unknown, tuple(others[:_MAX_LINKED]))] if unknown else [])
