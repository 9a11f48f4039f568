"""Which requests a try has begun with. Each of its processes renders the templates again, and may get others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from airflow_provider_kandinsky.batch.errors import RequestsChangedError
from airflow_provider_kandinsky.batch.items import by_position
from airflow_provider_kandinsky.durable.records import Item

#: So many hashes are kept at most; in a larger batch each is of several rows.
_MAX_HASHES: Final = 4_000
#: So many rows are named in the error.
_MAX_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Pin:
    """The rows of a try, by hashes.

    :param try_number: the task instance's.
    :param rows: how many there are.
    :param rows_per_hash: how many each hash is of; the last one may be of fewer.
    :param hashes: in the order of the rows.
    """

    try_number: int
    rows: int
    rows_per_hash: int
    hashes: list[str]

    @classmethod
    def of(cls, items: Sequence[Item], try_number: int) -> Self:
        """Pin items.

        :param try_number: the task instance's.
        """
        keys = by_position(items, lambda item: item.key)
        step = -(-len(keys) // _MAX_HASHES) or 1
        hashes = [
            hashlib.sha256("\n".join(keys[start : start + step]).encode()).hexdigest()[:8]
            for start in range(0, len(keys), step)
        ]
        return cls(try_number, len(keys), step, hashes)

    def check(self, now: Pin) -> None:
        """Compare with what was rendered now.

        :raises RequestsChangedError: another row, more rows, or fewer.
        """
        if now.hashes == self.hashes and now.rows == self.rows:
            return
        number_of_hashes = max(len(self.hashes), len(now.hashes))
        changed = [place for place in range(number_of_hashes) if _at(self.hashes, place) != _at(now.hashes, place)]
        named = ", ".join(map(self._rows_of, changed[:_MAX_NAMED]))
        more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
        raise RequestsChangedError(
            f"requests has changed since this try began: {named}{more} of {self.rows} (now {now.rows}) rendered to "
            "something else. Nothing more is submitted. Let templates render to the same in every process, without "
            "random values and the time of day; a clear begins with what is rendered then"
        )

    def _rows_of(self, place: int) -> str:
        first, last = place * self.rows_per_hash, (place + 1) * self.rows_per_hash - 1
        return f"[{first}]" if first == last else f"[{first}] to [{last}]"


def _at(hashes: Sequence[str], place: int) -> str | None:
    return hashes[place] if place < len(hashes) else None
