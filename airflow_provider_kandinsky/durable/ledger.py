"""What a task instance has already submitted, kept across its tries.

The service has no idempotency key, so the task keeps a record of its own: an intent before the POST, the request id
after it. A try that finds an intent without an id knows that an earlier one died in between. Where it is kept,
:mod:`~.durable.stores` says. Airflow's UI shows its task state store, so what is written is meant to be read.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Self

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.errors import LedgerError, unreadable
from airflow_provider_kandinsky.durable.policy import after_retry_or_clear
from airflow_provider_kandinsky.durable.records import JobRecord, read_job_record, to_record
from airflow_provider_kandinsky.durable.stores import LedgerStore, place_of
from airflow_provider_kandinsky.durable.unrecorded import Unrecorded

_KEY: Final = "kandinsky_job"
#: What of a single generation's record is kept. What it gave is not: the service is asked for it, or the history.
_KEPT_FIELDS: Final = (
    "arguments", "intended_at", "max_tries", "request_id", "submitted_at", "send_by", "sent_at", "earlier_ids",
    "not_found", "presumed",
)  # fmt: skip


class Ledger(ABC):
    """What one task instance has submitted. What is noted is in memory until :meth:`write` keeps it.

    :param store: where it is kept; without one nothing outlives this process.
    :param try_number: the task instance's.
    :param max_tries: the task instance's.
    """

    def __init__(self, store: LedgerStore | None, try_number: int, max_tries: int) -> None:
        self._store = store
        self.try_number = try_number
        self.max_tries = max_tries
        #: What earlier tries may have submitted without a trace here; ``None`` if they cannot have.
        self.unrecorded: Unrecorded | None = None

    @property
    def is_kept(self) -> bool:
        """Whether what is written will be there for the next try."""
        return self._store is not None

    @abstractmethod
    def __iter__(self) -> Iterator[JobRecord]: ...

    @abstractmethod
    def _raw(self, key: str) -> JobRecord | None:
        """What is known of an item, whether it still counts or not."""

    @abstractmethod
    def put(self, record: JobRecord) -> None:
        """Note how far an item has come."""

    @abstractmethod
    def reset(self, key: str) -> None:
        """Have an item submitted, or submitted again. The ids of its jobs stay known."""

    @abstractmethod
    def write(self) -> None:
        """Keep what was noted."""

    def get(self, key: str, *, is_random: bool = False) -> JobRecord | None:
        """What is known of an item and still counts in this try; see :func:`~.policy.after_retry_or_clear`."""
        record = self._raw(key)
        return record and after_retry_or_clear(record, self.try_number, self.max_tries, is_random=is_random)

    def open_record(self, key: str) -> JobRecord:
        """An item that is to be submitted, or submitted again, with what is known of its earlier jobs."""
        record = JobRecord(key, self.try_number, self.max_tries)
        if (before := self._raw(key)) is None:
            return record
        return replace(record, earlier_ids=before.known_ids, earlier_cost=before.cost or None)


class JobLedger(Ledger):
    """The ledger of a task that wants one generation: one value, which takes one read and two writes.

    :param arguments: a hash of each argument; see :func:`argument_hashes`.
    """

    def __init__(
        self,
        store: LedgerStore | None,
        try_number: int = 1,
        max_tries: int = 0,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(store, try_number, max_tries)
        self.arguments = dict(arguments or {})
        #: Of this generation, or of another one that the task wanted before its arguments changed.
        self.record: JobRecord | None = None
        self._read: Mapping[str, Any] | None = None
        self._stored: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, context: Context, store: LedgerStore | None, arguments: Mapping[str, str] | None = None) -> Self:
        """The ledger of the running task instance, which :meth:`read` has still to read.

        :param store: where it is kept.
        """
        ti = context["ti"]
        ledger = cls(store, ti.try_number, ti.max_tries, arguments)
        ledger.unrecorded = Unrecorded.of_task(context)
        return ledger

    def read(self, *, is_resumed: bool = False) -> Self:
        """Read what an earlier process has written.

        :param is_resumed: whether that was one of this try.
        :raises LedgerError: the store cannot be read, or holds something else. That is not the same as nothing.
        """
        if self._store is not None:
            with ledger_errors(self._store):
                self._read = self._stored = self._store.get(_KEY)
                if self._read is not None:
                    self.unrecorded = None
                    self.record = from_job_value(self._read, self.try_number if is_resumed else 0)
        return self

    def of_job(self, key: str, request_id: str, submitted_at: float) -> JobLedger:
        """The ledger of a job that an earlier process of this try has submitted: this one, if it has that job, and else
        one that keeps nothing.

        :param key: what the job is called in the latter.
        :param submitted_at: seconds since the epoch; the same.
        """
        if self.record is not None and self.record.request_id == request_id:
            return self
        ledger = JobLedger(None, self.try_number, self.max_tries, self.arguments)
        ledger.record = JobRecord(
            key, self.try_number, self.max_tries, submitted_at, request_id=request_id, submitted_at=submitted_at
        )
        return ledger

    def changed_since(self, model: str, arguments: Mapping[str, Any]) -> set[str]:
        """Which of some arguments are not those that were submitted, as far as that is kept."""
        if self.record is None or not self.is_kept:
            return set()
        return arguments.keys() & self.record.changed(argument_hashes(model, arguments))

    def __iter__(self) -> Iterator[JobRecord]:
        return iter([self.record] if self.record else [])

    def _raw(self, key: str) -> JobRecord | None:
        return self.record if self.record is not None and self.record.key == key else None

    def open_record(self, key: str) -> JobRecord:
        earlier_ids = self.record.known_ids if self.record else ()
        return replace(super().open_record(key), earlier_ids=earlier_ids, arguments=self.arguments)

    def put(self, record: JobRecord) -> None:
        if self.record and record.request_id and record.request_id == self.record.request_id:
            # A clear is known by the number that the job was submitted with.
            record = replace(record, max_tries=self.record.max_tries)
        self.record = record

    def reset(self, key: str) -> None:
        self.record = self.open_record(key)

    def write(self) -> None:
        if self._store is None:
            return
        # What was not submitted leaves in place what was there before.
        is_submitted = self.record is not None and (self.record.request_id or self.record.intended_at)
        value = to_job_value(self.record) if self.record is not None and is_submitted else self._read
        if value == self._stored:
            return
        if value is None:
            self._store.delete(_KEY)
        else:
            self._store.set(_KEY, value)
        self._stored = value


def to_job_value(record: JobRecord) -> dict[str, Any]:
    """A single generation's record as it is kept; :func:`from_job_value` is the way back."""
    known = to_record(record)
    kept = {name: known[name] for name in _KEPT_FIELDS if name in known}
    # People check first whether there is an id.
    value = {"request_id": None, "submitted_at": None} | kept | {"fingerprint": record.key}
    return value if record.request_id else value | {"submitted_at": None}


def from_job_value(value: Mapping[str, Any], try_number: int = 0) -> JobRecord:
    """Read a single generation's record, of this version or of another.

    :raises TypeError: it is no such record.
    """
    known = {"key" if name == "fingerprint" else name: each for name, each in value.items() if each is not None}
    record = read_job_record(known | {"try_number": try_number})
    if record.is_open:
        raise TypeError("neither an intent nor a request id")
    return record if record.submitted_at else replace(record, submitted_at=record.intended_at)


@contextmanager
def ledger_errors(store: LedgerStore) -> Iterator[None]:
    """Whatever goes wrong in here means that what was paid for is not known.

    :param store: what is read.
    """
    try:
        yield
    except LedgerError:
        raise
    except Exception as error:
        raise unreadable(place_of(store), error) from error


def argument_hashes(model: str, payload: Mapping[str, Any]) -> dict[str, str]:
    """A short hash of the model and of each parameter: enough to notice that one has changed, and not to read it."""
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
        for name, value in {"model": model, **payload}.items()
    }
