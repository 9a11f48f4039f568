"""Where a task instance keeps its ledger: where ``ledger_path`` says, else in Airflow's task state store."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Protocol

from airflow.configuration import conf
from airflow.sdk import Context

from airflow_provider_kandinsky.compat.airflow import task_state_store
from airflow_provider_kandinsky.compat.loops import loop_index
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings

log = logging.getLogger(__name__)

_TASK_STATE_STORE = "The task state store"


class LedgerStore(Protocol):
    """What is used of Airflow's task state store, and what stands in its place."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...

    def delete(self, key: str) -> None: ...


def ledger_path_of(settings: ConnectionSettings) -> str | None:
    """The connection's ``ledger_path``, else that of Airflow's configuration; ``None`` if there is neither."""
    return settings.ledger_path or conf.get("kandinsky", "ledger_path", fallback="").strip() or None


def ledger_store_for(context: Context, *, durable: bool, ledger_path: str | None = None) -> LedgerStore | None:
    """Where the running task instance keeps its ledger.

    :param durable: whether to keep any. If so and there is neither a path nor a task state store, that is said once.
    :param ledger_path: an object storage URI.
    :raises ConfigurationError: the path cannot be used.
    """
    if not durable:
        return None
    store: LedgerStore | None = task_state_store(context)
    if ledger_path is not None:
        from airflow_provider_kandinsky.durable.object_store import ObjectStore  # slow to import, and most have none

        files = ObjectStore.of_task(ledger_path, context)
        store = files if store is None else _WrappedStore(files, before=store)
    if store is None:
        _warn_of_no_store()
        return None
    # Airflow's own store keeps the iterations of a task loop apart. One of the user's own, written for an Airflow
    # without loops, may name what it keeps after the DAG, the run, the task and the map index, as files do, and
    # iterations share all of them.
    index = loop_index(context)
    return store if index is None else _WrappedStore(store, suffix=f"_iteration_{index}")


def place_of(store: LedgerStore) -> str:
    """What a store is called in errors."""
    return getattr(store, "place", _TASK_STATE_STORE)


class _WrappedStore:
    """A store that was set up while tasks may have been under way, or that several iterations share.

    :param store: where it is written.
    :param suffix: is added to all keys.
    :param before: where it was. What was written there before is still read.
    """

    def __init__(self, store: LedgerStore, *, suffix: str = "", before: LedgerStore | None = None) -> None:
        self._store = store
        self._suffix = suffix
        self._before = before
        self.place = place_of(store)

    def get(self, key: str) -> Any:
        value = self._store.get(key + self._suffix)
        return self._before.get(key + self._suffix) if value is None and self._before is not None else value

    def set(self, key: str, value: Any) -> None:
        self._store.set(key + self._suffix, value)

    def delete(self, key: str) -> None:
        self._store.delete(key + self._suffix)


@cache
def _warn_of_no_store() -> None:
    log.warning(
        "This Airflow has no task state store (it came with 3.3), and ledger_path is not set: a retry cannot know what "
        "an earlier try has submitted, and submits it again. Set ledger_path in the connection's extra, or "
        "durable=False to say that you know."
    )
