"""What a task instance has already paid for in a batch, and what came of it, kept across its tries.

The idea is that of :class:`~airflow_provider_kandinsky.durable.ledger.JobLedger`, for many purchases: they are kept in
chunks, so that no write grows with the batch, and what changes together is written together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_kandinsky.batch.closed import Closed
from airflow_provider_kandinsky.batch.pin import Pin
from airflow_provider_kandinsky.durable.ledger import (
    TaskStateStore,
    add_earlier_id,
    from_record,
    reading,
    task_state_store_for,
    to_record,
)
from airflow_provider_kandinsky.segmind.errors import JobFailedError, KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.wire.values import number_in

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

#: The progress, for people: the task state store has a tab in Airflow's UI.
_PROGRESS_KEY: Final = "kandinsky_batch"
#: Which requests the try has begun with.
_PIN_KEY: Final = "kandinsky_batch_requests"
#: Which of its chunks are done.
_CLOSED_KEY: Final = "kandinsky_batch_closed"
#: Entries in one value of the store: some 25 kB once their results are known.
_CHUNK: Final = 40
#: What a value may have in bytes; Airflow warns of more than 65 535.
_MAX_CHUNK_BYTES: Final = 60_000


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """One purchase, as far as it has come.

    :param key: which one; see :class:`~.items.Item`.
    :param try_number: the try that bought it, or that gave it up.
    :param max_tries: the task instance's at that time; a user's clear raises it, a retry does not.
    :param intended_at: when it was about to be submitted, seconds since the epoch.
    :param request_id: the job, once the service had accepted it.
    :param submitted_at: when it had, seconds since the epoch.
    :param result: what it gave; see :meth:`~.segmind.schemas.GenerationResult.to_dict`.
    :param uris: where its pictures were stored.
    :param output_path: the template that they were stored by.
    :param error: why there is nothing more of it; see :meth:`~.segmind.errors.KandinskyError.to_dict`.
    :param send_by: by when its POST had left, or never will, seconds since the epoch.
    :param sent_at: when its POST had last left, if its answer was lost.
    :param earlier_ids: jobs that were submitted for it before, and which are not to be taken for this one.
    :param earlier_cost: dollars, what those have cost as far as the service has told.
    """

    key: str
    try_number: int
    max_tries: int
    intended_at: float = 0.0
    request_id: str | None = None
    submitted_at: float = 0.0
    result: Mapping[str, Any] | None = None
    uris: list[str] | None = None
    output_path: str | None = None
    error: Mapping[str, Any] | None = None
    send_by: float | None = None
    sent_at: float | None = None
    earlier_ids: Sequence[str] = ()
    earlier_cost: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is still to be submitted: only what was submitted for it before is worth keeping."""
        return self.intended_at == 0.0 and self.error is None and self.request_id is None

    @property
    def is_unsettled(self) -> bool:
        """Whether it was about to be submitted, and it is not known what became of that."""
        return self.error is None and self.request_id is None

    @property
    def is_in_flight(self) -> bool:
        """Whether it was bought, and nothing is known of what it gave."""
        return self.error is None and self.request_id is not None and self.result is None

    @property
    def cost(self) -> float:
        """Dollars, for all jobs that were submitted for it, as far as the service has told."""
        return (self.earlier_cost or 0.0) + (number_in((self.result or {}).get("cost")) or 0.0)

    @property
    def failure(self) -> KandinskyError | None:
        """Why there is nothing more of it."""
        return None if self.error is None else error_from_dict(dict(self.error))

    @property
    def generation(self) -> GenerationResult | None:
        """What it gave, where that is known."""
        return None if self.result is None else GenerationResult.from_dict(self.result)


class BatchLedger:
    """The books of one task instance's batch.

    :param store: Airflow's task state store; without one nothing outlives this process.
    :param try_number: the task instance's.
    :param max_tries: the task instance's.
    :param carried: what :meth:`carry` gave to an earlier process of this try, where there is no store.
    """

    def __init__(
        self,
        store: TaskStateStore | None,
        try_number: int,
        max_tries: int,
        carried: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._store = store
        self._chunks: list[dict[str, BatchEntry]] = []
        self._chunk_of: dict[str, int] = {}
        self._unwritten: set[int] = set()
        self.try_number = try_number
        self.max_tries = max_tries
        #: What is not read until :meth:`read_all`.
        self.closed = Closed(try_number)
        for record in carried:
            self.put(from_record(BatchEntry, record))

    @classmethod
    def read(
        cls,
        context: Context,
        *,
        durable: bool,
        carried: Iterable[Mapping[str, Any]] = (),
        is_resumed: bool = False,
    ) -> Self:
        """Open the books of the running task instance.

        :param is_resumed: whether an earlier process of this try has read them, so that what is closed may be left.
        :raises LedgerError: the store cannot be read, or holds something else. That is not the same as nothing.
        """
        ti, store = context["ti"], task_state_store_for(context, durable=durable)
        ledger = cls(store, ti.try_number, ti.max_tries, carried)
        if store is not None:
            with reading():
                closed = store.get(_CLOSED_KEY) if is_resumed else None
                if closed is not None and closed["try_number"] == ti.try_number:
                    ledger.closed = Closed.from_dict(closed)
                ledger._read_from(store, ledger.closed.chunks)
        return ledger

    def read_all(self) -> None:
        """Read what is closed.

        :raises LedgerError: the store cannot be read.
        """
        if self._store is not None and self.closed.chunks:
            with reading():
                self._read_from(self._store, 0, self.closed.chunks)
        self.closed = Closed(self.try_number)

    def close(self, closed: Closed) -> None:
        """Leave chunks that are done, from now on. They were written, and are not written again."""
        for number in range(self.closed.chunks, closed.chunks):
            for key in self._chunks[number]:
                del self._chunk_of[key]
            self._chunks[number] = {}
        self.closed = closed
        if self._store is not None:
            self._store.set(_CLOSED_KEY, closed.to_dict())

    @property
    def chunks(self) -> Sequence[Mapping[str, BatchEntry]]:
        """All chunks; those that are closed are empty here."""
        return self._chunks

    @property
    def is_kept(self) -> bool:
        """Whether what is written will be there for the next try."""
        return self._store is not None

    def __iter__(self) -> Iterator[BatchEntry]:
        return (entry for chunk in self._chunks for entry in chunk.values())

    def get(self, key: str, *, is_random: bool = False) -> BatchEntry | None:
        """What is known of a purchase, and still counts in this try.

        What an earlier try has bought counts. That it failed does not, where a retry or a user's clear is to cure it.

        :param is_random: whether its seed is ``-1``, so that a clear asks for another picture.
        """
        entry = self._raw(key)
        if entry is None or entry.is_open:
            return None
        if entry.try_number == self.try_number:
            return entry
        is_cleared = self.is_cleared(entry)
        if is_cleared and is_random:
            return None
        failure = entry.failure
        if failure is None or not (failure.retryable or is_cleared):
            return entry
        if entry.intended_at == 0.0 or (isinstance(failure, JobFailedError) and failure.retryable):
            return None  # never accepted, or not billed
        return replace(entry, error=None)

    def is_cleared(self, entry: BatchEntry) -> bool:
        """Whether a user has cleared the task since."""
        return entry.max_tries != self.max_tries

    def open_entry(self, key: str) -> BatchEntry:
        """A purchase that is to be made, or made again, with what is known of its earlier jobs."""
        entry = BatchEntry(key, self.try_number, self.max_tries)
        if (before := self._raw(key)) is None:
            return entry
        ids = add_earlier_id(before.earlier_ids, before.request_id)
        return replace(entry, earlier_ids=ids, earlier_cost=before.cost or None)

    def put(self, entry: BatchEntry) -> None:
        """Note a purchase, in place of what was known of it; :meth:`write` keeps it."""
        number = self._chunk_of.get(entry.key, max(self.closed.chunks, len(self._chunks) - 1))
        if entry.key not in self._chunk_of and number < len(self._chunks) and len(self._chunks[number]) >= _CHUNK:
            number += 1
        self._place(entry, number)
        self._unwritten.add(number)

    def reset(self, key: str) -> None:
        """Have a purchase made, or made again. The ids of its jobs stay known."""
        if (entry := self.open_entry(key)).earlier_ids:
            self.put(entry)
        elif (number := self._chunk_of.pop(key, None)) is not None:
            del self._chunks[number][key]
            self._unwritten.add(number)

    def write(self) -> None:
        """Keep what was noted."""
        if self._store is None:
            return
        for number in sorted(self._unwritten):
            try:
                self._write_chunk(self._store, number)
            except Exception:
                ids = [entry.request_id or "" for entry in self._chunks[number].values() if entry.is_in_flight]
                log.warning(
                    "The record of a batch could not be written; it may lack these requests: %s", ", ".join(ids)
                )
                raise
            self._unwritten.discard(number)

    def _write_chunk(self, store: TaskStateStore, number: int) -> None:
        """Keep a chunk; what is too large for one goes into two."""
        chunk = self._chunks[number]
        records = [to_record(entry) for entry in chunk.values()]
        if len(chunk) > 1 and len(json.dumps(records)) > _MAX_CHUNK_BYTES:
            moved = list(islice(chunk.values(), len(chunk) // 2, None))
            last = len(self._chunks)
            for entry in moved:
                self._place(entry, last)
            # First, so that a crash leaves them in both and not in neither.
            self._write_chunk(store, last)
            self._write_chunk(store, number)
            return
        store.set(_chunk_key(number), records)

    def read_pin(self) -> Pin | None:
        """Which requests this try has begun with, as far as that is kept.

        :raises LedgerError: the store cannot be read.
        """
        if self._store is None:
            return None
        with reading():
            pinned = self._store.get(_PIN_KEY)
            pin = None if pinned is None else Pin.from_dict(pinned)
        return pin if pin and pin.try_number == self.try_number else None

    def write_pin(self, pin: Pin) -> None:
        """Keep which requests this try begins with."""
        if self._store is not None:
            self._store.set(_PIN_KEY, pin.to_dict())

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Tell people how far it has come; nothing else reads it."""
        if self._store is not None:
            self._store.set(_PROGRESS_KEY, dict(progress))

    def carry(self) -> list[dict[str, Any]] | None:
        """What the next process of this try has to be given; ``None`` if it can read it."""
        return None if self.is_kept else [to_record(entry) for entry in self]

    def _read_from(self, store: TaskStateStore, first: int, end: int | None = None) -> None:
        for number in count(first) if end is None else range(first, end):
            chunk = store.get(_chunk_key(number))
            if chunk is None:
                return
            for record in chunk:
                entry = from_record(BatchEntry, record)
                # What has moved on to a later chunk, and was read before this one, may be here as it once was.
                if end is None or entry.key not in self._chunk_of:
                    self._place(entry, number)

    def _raw(self, key: str) -> BatchEntry | None:
        number = self._chunk_of.get(key)
        return None if number is None else self._chunks[number].get(key)

    def _place(self, entry: BatchEntry, number: int) -> None:
        while len(self._chunks) <= number:
            self._chunks.append({})
        if (before := self._chunk_of.get(entry.key, number)) != number:
            del self._chunks[before][entry.key]
        self._chunks[number][entry.key] = entry
        self._chunk_of[entry.key] = number


def _chunk_key(number: int) -> str:
    return f"{_PROGRESS_KEY}_{number + 1:04}"
