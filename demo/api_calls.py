"""Counts the calls of tasks to Airflow's API server, from its access log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

# The access log of Airflow since 3.2, and of uvicorn before.
_REQUEST = re.compile(r'\bmethod=(\S+) path=/execution/(\S+)|"(\S+) /execution/(\S+) HTTP/')


def count_api_calls(lines: Iterable[str], names: Iterable[str] = ()) -> Counter[str]:
    """Count the calls of workers to the API server, by what they are about.

    :param lines: of the API server's log.
    :param names: count only calls that have one of these in their path, such as a task instance's id or a run's.
    :return: how often each was made, such as ``PATCH run``, ``PUT heartbeat``, ``GET store kandinsky_job`` or
        ``POST xcom request_id``.
    """
    wanted = tuple(names)
    found = Counter[str]()
    for line in lines:
        if (request := _REQUEST.search(line)) is None:
            continue
        method, path = (one or other for one, other in zip(request.groups()[:2], request.groups()[2:], strict=True))
        path = unquote(path.partition("?")[0])
        if not wanted or any(name in path for name in wanted):
            found[f"{method} {_subject(path)}"] += 1
    return found


def _subject(path: str) -> str:
    kind, *rest = path.split("/")
    if kind in ("xcoms", "store"):
        return f"{kind.removesuffix('s')} {rest[-1]}"
    return rest[-1] if kind == "task-instances" else path
