"""Where a task instance keeps its ledger: Airflow's task state store."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_kandinsky.compat.airflow import loop_index, task_state_store

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class TaskStateStore(Protocol):
    """What is used of Airflow's store."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...

    def delete(self, key: str) -> None: ...


def task_state_store_for(context: Context, *, durable: bool) -> TaskStateStore | None:
    """Where the running task instance keeps its ledger.

    :param durable: whether to keep any. If so and Airflow has no task state store, that is said once.
    """
    store = task_state_store(context) if durable else None
    if durable and store is None:
        _warn_of_no_store()
    index = loop_index(context)
    return store if store is None or index is None else _IterationStore(store, index)


class _IterationStore:
    """The store of one iteration of a task loop.

    Airflow's own store keeps iterations apart. One of the user's own, written for an Airflow without loops, may name
    what it keeps after the DAG, the run, the task and the map index, and iterations share all of them.

    :param index: the iteration, counted from 0.
    """

    def __init__(self, store: TaskStateStore, index: int) -> None:
        self._store = store
        self._suffix = f"_iteration_{index}"

    def get(self, key: str) -> Any:
        return self._store.get(key + self._suffix)

    def set(self, key: str, value: Any) -> None:
        self._store.set(key + self._suffix, value)

    def delete(self, key: str) -> None:
        self._store.delete(key + self._suffix)


@cache
def _warn_of_no_store() -> None:
    log.warning(
        "This Airflow has no task state store (it came with 3.3): a retry cannot know what an earlier try has "
        "submitted, and submits it again. Set durable=False to say that you know."
    )
