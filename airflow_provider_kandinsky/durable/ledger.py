"""What a task instance has already paid for, kept across its tries.

The service has no idempotency key, so the task keeps its own books, in Airflow's task state store (3.3 and later):
an intent before the POST, the request id after it. A try that finds an intent without an id knows that an earlier
one died in between. What is written here is shown in Airflow's UI, and is meant to be read there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from airflow_provider_kandinsky.compat.airflow import loop_index, task_state_store
from airflow_provider_kandinsky.durable.errors import LedgerError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

_KEY: Final = "kandinsky_job"
#: So many ids of earlier submissions are kept; the history is asked about the days around a submission only.
_MAX_EARLIER_IDS: Final = 50

Record = TypeVar("Record")


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
    :param send_by: by when the POST had left, or never will, seconds since the epoch.
    :param sent_at: when the POST had last left, if its answer was lost.
    :param earlier_ids: jobs that this task instance has submitted before, and which are not to be taken for this one.
    :param not_found: whether a wait for the job has ended because the service knew nothing of it any more.
    """

    fingerprint: str
    arguments: Mapping[str, str]
    intended_at: float
    max_tries: int
    request_id: str | None = None
    submitted_at: float | None = None
    send_by: float | None = None
    sent_at: float | None = None
    earlier_ids: Sequence[str] = ()
    not_found: bool = False

    @property
    def known_ids(self) -> list[str]:
        """All jobs that this task instance knows to be its own, the latest last."""
        return add_earlier_id(self.earlier_ids, self.request_id)

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
        return cls(task_state_store_for(context, durable=durable))

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
            return None if written is None else from_record(Entry, written)

    def write(self, entry: Entry) -> None:
        """Put down a submission, in place of an earlier one."""
        if self._store is not None:
            # Whether there is an id is the first that people look for.
            self._store.set(_KEY, {"request_id": None, "submitted_at": None} | to_record(entry))

    def write_not_found(self) -> None:
        """Note that the service knew nothing of the job for a whole wait."""
        if (entry := self.read()) is not None:
            self.write(replace(entry, not_found=True))

    def delete(self, before: Entry | None) -> None:
        """Take out a submission that was not made.

        :param before: what it was written in place of.
        """
        if self._store is None:
            return
        if before is None:
            self._store.delete(_KEY)
        else:
            self.write(before)


def task_state_store_for(context: Context, *, durable: bool) -> TaskStateStore | None:
    """Where the running task instance keeps its books.

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


def add_earlier_id(earlier_ids: Sequence[str], request_id: str | None) -> list[str]:
    """The ids of earlier submissions and one more, the latest last, as many as are kept."""
    ids = dict.fromkeys([*earlier_ids, *([request_id] if request_id else [])])
    return list(ids)[-_MAX_EARLIER_IDS:]


def from_record(record_type: type[Record], record: Mapping[str, Any]) -> Record:
    """Read what a version of this package has written; fields that this version does not know are left out.

    :raises TypeError: it is no such record.
    """
    names = {each.name for each in fields(record_type)}  # type: ignore[arg-type]  # only dataclasses come here
    return record_type(**{name: value for name, value in record.items() if name in names})


def to_record(entry: Any) -> dict[str, Any]:
    """Plain values, without the fields that have nothing to say."""
    return {
        name: value
        for name, value in asdict(entry).items()
        if not (value is None or value is False or (isinstance(value, Sequence) and not value))
    }


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


def derive_seed(context: Context, *item: str | int) -> int:
    """A seed for a task instance that was given none: the same in every try, another in every other task instance and
    in every other iteration of a task loop.

    So payloads are unique, a retry repeats the picture, and a request found in the history is certainly this task's.

    :param item: what tells the items of one task apart.
    :return: 0 to 2147483647.
    """
    ti, index = context["ti"], loop_index(context)
    iteration = () if index is None else (f"iteration {index}",)
    return seed_from_names(
        ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, *iteration, *item
    )


def seed_from_names(dag_id: str, run_id: str, task_id: str, map_index: int, *item: str | int) -> int:
    """A seed that is made from names; see :func:`derive_seed`."""
    name = "\n".join((dag_id, run_id, task_id, str(map_index), *map(str, item)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


@cache
def _warn_of_no_store() -> None:
    log.warning(
        "This Airflow has no task state store (it came with 3.3): a retry cannot know what an earlier try has bought, "
        "and buys again. Set durable=False to say that you know."
    )
