"""What came in: every call, findable without a search."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


class CallLog:
    """Every call that was answered or dropped, with indexes by name and by job: asked after each of ten thousand
    polls, it still answers at once."""

    def __init__(self) -> None:
        self._rows: defaultdict[tuple[str | None, str | None], list[dict[str, Any]]] = defaultdict(list)

    def add(self, *, call: str, request_id: str | None, at: float, status: int | None, key_present: bool) -> None:
        """Note one call. There is no parameter for the key itself, so none can be recorded.

        :param at: when it came in, in seconds since the epoch.
        :param status: what was answered; ``None`` if nothing was.
        """
        row = {"call": call, "request_id": request_id, "at": at, "status": status, "key_present": key_present}
        for index in {(None, None), (call, None), (None, request_id), (call, request_id)}:
            self._rows[index].append(row)

    def find(self, call: str | None = None, request_id: str | None = None) -> list[dict[str, Any]]:
        """The calls of that name and job, ``None`` for any, in the order they were answered."""
        return self._rows.get((call, request_id), [])
