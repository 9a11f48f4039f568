"""What a task instance has already submitted of a batch, and what came of it, kept across its tries.

The records of many items are kept in chunks, so that no write grows with the batch, and what changes together is
written together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count, islice
from typing import Any, Final, Self

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.closed import Closed
from airflow_provider_kandinsky.batch.pin import Pin
from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.durable.ledger import Ledger, ledger_errors
from airflow_provider_kandinsky.durable.records import Item, JobRecord, read_job_record, to_record
from airflow_provider_kandinsky.durable.stores import LedgerStore
from airflow_provider_kandinsky.durable.unrecorded import Unrecorded

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


class BatchLedger(Ledger):
    """The ledger of one task instance's batch.

    :param store: where it is kept; without one nothing outlives this process.
    :param try_number: the task instance's.
    :param max_tries: the task instance's.
    """

    def __init__(self, store: LedgerStore | None, try_number: int, max_tries: int) -> None:
        super().__init__(store, try_number, max_tries)
        #: Which requests this try has begun with, as far as that is known.
        self.pinned: Pin | None = None
        #: All chunks; those that are closed are empty here.
        self.chunks: list[dict[str, JobRecord]] = []
        self._chunk_of: dict[str, int] = {}
        self._unwritten: set[int] = set()
        #: What is not read until :meth:`read_all`.
        self.closed = Closed(try_number)

    @classmethod
    def read(
        cls,
        context: Context,
        store: LedgerStore | None,
        carried_over: Mapping[str, Any],
        *,
        is_resumed: bool = False,
    ) -> Self:
        """Open the ledger of the running task instance.

        :param store: where it is kept.
        :param carried_over: what :meth:`carry_over` gave to an earlier process of this try.
        :param is_resumed: whether an earlier process of this try has read it, so that what is closed may be left.
        :raises LedgerError: the store cannot be read, or holds something else. That is not the same as nothing.
        """
        ti = context["ti"]
        ledger = cls(store, ti.try_number, ti.max_tries)
        for record in carried_over.get("entries") or ():
            ledger.put(from_stored(JobRecord, record))
        if pinned := carried_over.get("pinned"):
            ledger.pinned = from_stored(Pin, pinned)
        if store is not None:
            with ledger_errors(store):
                if is_resumed:
                    ledger._read_what_is_of_this_try(store)
                ledger._read_from(store, ledger.closed.chunks)
            if not (is_resumed or ledger.chunks):
                ledger.unrecorded = Unrecorded.of_task(context)
        return ledger

    def _read_what_is_of_this_try(self, store: LedgerStore) -> None:
        closed, pinned = store.get(_CLOSED_KEY), store.get(_PIN_KEY)
        if closed is not None and closed["try_number"] == self.try_number:
            self.closed = Closed.from_dict(closed)
        if pinned is not None and pinned["try_number"] == self.try_number and self.pinned is None:
            self.pinned = from_stored(Pin, pinned)

    def read_all(self) -> None:
        """Read what is closed.

        :raises LedgerError: the store cannot be read.
        """
        if self._store is not None and self.closed.chunks:
            with ledger_errors(self._store):
                self._read_from(self._store, 0, self.closed.chunks)
        self.closed = Closed(self.try_number)

    def close(self, closed: Closed) -> None:
        """Leave chunks that are done, from now on. They were written, and are not written again."""
        for number in range(self.closed.chunks, closed.chunks):
            for key in self.chunks[number]:
                del self._chunk_of[key]
            self.chunks[number] = {}
        self.closed = closed
        if self._store is not None:
            self._store.set(_CLOSED_KEY, closed.to_dict())

    def __iter__(self) -> Iterator[JobRecord]:
        return (record for chunk in self.chunks for record in chunk.values())

    def put(self, record: JobRecord) -> None:
        number = self._chunk_of.get(record.key, max(self.closed.chunks, len(self.chunks) - 1))
        if record.key not in self._chunk_of and number < len(self.chunks) and len(self.chunks[number]) >= _CHUNK:
            number += 1
        self._place(record, number)
        self._unwritten.add(number)

    def reset(self, key: str) -> None:
        if (record := self.open_record(key)).earlier_ids:
            self.put(record)
        elif (number := self._chunk_of.pop(key, None)) is not None:
            del self.chunks[number][key]
            self._unwritten.add(number)

    def write(self) -> None:
        if self._store is None:
            return
        # The first one last: without it there is no ledger, so a crash leaves all of this, or nothing.
        for number in sorted(self._unwritten, reverse=True):
            try:
                self._write_chunk(self._store, number)
            except Exception:
                ids = [record.request_id or "" for record in self.chunks[number].values() if record.is_in_flight]
                log.warning(
                    "The record of a batch could not be written; it may lack these requests: %s", ", ".join(ids)
                )
                raise
            self._unwritten.discard(number)

    def _write_chunk(self, store: LedgerStore, number: int) -> None:
        """Keep a chunk; what is too large for one goes into two."""
        chunk = self.chunks[number]
        records = [to_record(record) for record in chunk.values()]
        if len(chunk) > 1 and len(json.dumps(records)) > _MAX_CHUNK_BYTES:
            moved = list(islice(chunk.values(), len(chunk) // 2, None))
            last = len(self.chunks)
            for record in moved:
                self._place(record, last)
            # First, so that a crash leaves them in both and not in neither.
            self._write_chunk(store, last)
            self._write_chunk(store, number)
            return
        store.set(_chunk_key(number), records)

    def pin(self, items: Sequence[Item]) -> None:
        """Keep which requests this try begins with, or check that they are still the same.

        :raises RequestsChangedError: the items are others now.
        """
        now = Pin.of(items, self.try_number)
        if self.pinned is not None:
            self.pinned.check(now)
            return
        self.read_all()
        self.pinned = now
        if self._store is not None:
            self._store.set(_PIN_KEY, asdict(now))

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Show people how far it has come; nothing else reads it."""
        if self._store is not None:
            self._store.set(_PROGRESS_KEY, dict(progress))

    def carry_over(self) -> dict[str, Any]:
        """What the next process of this try has to be given; nothing if it can read it."""
        if self.is_kept:
            return {}
        pinned = {} if self.pinned is None else {"pinned": asdict(self.pinned)}
        return {"entries": [to_record(record) for record in self]} | pinned

    def _read_from(self, store: LedgerStore, first: int, end: int | None = None) -> None:
        for number in count(first) if end is None else range(first, end):
            chunk = store.get(_chunk_key(number))
            if chunk is None:
                return
            for record in chunk:
                record = read_job_record(record)
                # What has moved on to a later chunk, and was read before this one, may be here as it once was.
                if end is None or record.key not in self._chunk_of:
                    self._place(record, number)

    def _raw(self, key: str) -> JobRecord | None:
        number = self._chunk_of.get(key)
        return None if number is None else self.chunks[number].get(key)

    def _place(self, record: JobRecord, number: int) -> None:
        while len(self.chunks) <= number:
            self.chunks.append({})
        if (before := self._chunk_of.get(record.key, number)) != number:
            del self.chunks[before][record.key]
        self.chunks[number][record.key] = record
        self._chunk_of[record.key] = number


def _chunk_key(number: int) -> str:
    return f"{_PROGRESS_KEY}_{number + 1:04}"
