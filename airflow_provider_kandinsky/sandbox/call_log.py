"""The log of all calls."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

#: The name under which all calls to the API that need a key are found together, those to the history aside.
API = "api"
_NOT_API = frozenset({"history", "image"})


class CallLog:
    """Every finished call, indexed by name and job, as tests query it after each of thousands of polls."""

    def __init__(self) -> None:
        self._rows: defaultdict[tuple[str | None, str | None], list[dict[str, Any]]] = defaultdict(list)

    def add(self, *, call: str, request_id: str | None, at: float, status: int | None, key_present: bool) -> None:
        """Log one call. The key itself is no parameter, so that it cannot be logged.

        :param at: its start, in seconds since the epoch.
        :param status: of the response; ``None`` if the connection was dropped.
        """
        row = {"call": call, "request_id": request_id, "at": at, "status": status, "key_present": key_present}
        names = {None, call} if call in _NOT_API else {None, call, API}
        for index in {(name, job) for name in names for job in (None, request_id)}:
            self._rows[index].append(row)

    def find(
        self, call: str | None = None, request_id: str | None = None, status: int | None = None
    ) -> list[dict[str, Any]]:
        """The calls of a name, job and status (``None`` for any), in the order of their responses.

        :param call: a name, or :data:`API`.
        """
        rows = self._rows.get((call, request_id), [])
        return rows if status is None else [row for row in rows if row["status"] == status]
