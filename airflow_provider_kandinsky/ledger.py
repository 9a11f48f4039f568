"""What a task instance has already paid for, kept across its tries.

The service has no idempotency key, so the task keeps its own books, in Airflow's task state store (3.3 and later):
an intent before the POST, the request id after it. A try that finds an intent without an id knows that an earlier
one died in between. What is written here is shown in Airflow's UI, and is meant to be read there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from airflow_provider_kandinsky.capabilities import AirflowException, task_state_store

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

_KEY: Final = "kandinsky_job"


class LedgerError(AirflowException):
    """The ledger cannot be read, so it is not known what was paid for. Nothing was submitted; a retry reads again."""


class TaskStateStore(Protocol):
    """What is used of Airflow's store."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...

    def delete(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One purchase, made or meant.

    :param fingerprint: names the purchase; see :func:`~.segmind.schemas.fingerprint`.
    :param arguments: a hash of each argument, to tell which of them changed.
    :param intended_at: when it was about to be submitted, seconds since the epoch.
    :param max_tries: the task instance's; a user's clear raises it, a retry does not.
    :param request_id: the job, once the service had accepted it.
    :param submitted_at: when it had, seconds since the epoch.
    """

    fingerprint: str
    arguments: Mapping[str, str]
    intended_at: float
    max_tries: int
    request_id: str | None = None
    submitted_at: float | None = None

    def changed(self, arguments: Mapping[str, str]) -> list[str]:
        """The names of the arguments that are not what they were."""
        return sorted(name for name in {*self.arguments, *arguments} if self.arguments.get(name) != arguments.get(name))


class JobLedger:
    """The books of one task instance.

    :param store: Airflow's task state store; without one nothing is kept, and every try buys anew.
    """

    def __init__(self, store: TaskStateStore | None) -> None:
        self._store = store

    @classmethod
    def of(cls, context: Context, *, durable: bool) -> Self:
        """The ledger of the running task instance.

        :param durable: whether to keep one. If so and Airflow has no task state store, that is said once.
        """
        return cls(store_of(context, durable=durable))

    @property
    def is_kept(self) -> bool:
        """Whether what is written will be there for the next try."""
        return self._store is not None

    def read(self) -> Entry | None:
        """What an earlier try has written.

        :raises LedgerError: the store cannot be read, or holds something else. That is not the same as nothing.
        """
        if self._store is None:
            return None
        with reading():
            written = self._store.get(_KEY)
            return None if written is None else Entry(**written)

    def write(self, entry: Entry) -> None:
        """Put down a purchase, in place of an earlier one."""
        if self._store is not None:
            self._store.set(_KEY, asdict(entry))

    def forget(self) -> None:
        """Strike out a purchase that was not made."""
        if self._store is not None:
            self._store.delete(_KEY)


def store_of(context: Context, *, durable: bool) -> TaskStateStore | None:
    """Where the running task instance keeps its books.

    :param durable: whether to keep any. If so and Airflow has no task state store, that is said once.
    """
    store = task_state_store(context) if durable else None
    if durable and store is None:
        _warn_of_no_store()
    return store


@contextmanager
def reading() -> Iterator[None]:
    """Whatever goes wrong in here means that what was paid for is not known."""
    try:
        yield
    except Exception as error:
        raise LedgerError(
            f"The task state store could not be read ({type(error).__name__}), so it is not known what this task has "
            "already bought. Nothing was submitted; a retry reads it again"
        ) from error


def argument_hashes(model: str, payload: Mapping[str, Any]) -> dict[str, str]:
    """A short hash of the model and of each parameter: enough to tell that one has changed, and not to read it."""
    return {
        name: hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
        for name, value in {"model": model, **payload}.items()
    }


def seed_of(dag_id: str, run_id: str, task_id: str, map_index: int, *item: str | int) -> int:
    """A seed for a task instance that was given none: the same in every try, another in every other task instance.

    So payloads are unique, a retry repeats the picture, and a request found in the history is certainly this task's.

    :param item: what tells the items of one task apart.
    :return: 0 to 2147483647.
    """
    name = "\n".join((dag_id, run_id, task_id, str(map_index), *map(str, item)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


@cache
def _warn_of_no_store() -> None:
    log.warning(
        "This Airflow has no task state store (it came with 3.3): a retry cannot know what an earlier try has bought, "
        "and buys again. Set durable=False to say that you know."
    )
