"""The images of a batch: stored, or submitted again if the service has them no more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.outcomes import OutcomeCollector
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.results.delivery import image_bytes_without_output_path
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.storage import find_missing, store
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)

#: So many results that hold their images are in memory at a time.
_BYTES_AT_ONCE: Final = 8


#: An item, what it gave, and where its images are.
Stored = tuple[Item, GenerationResult, list[str]]


class BatchOutcomes(OutcomeCollector):
    """Applies what became of jobs, and stores their images."""

    _state: BatchState
    #: Called with what was just stored, before that is written to the ledger.
    on_stored: Callable[[Sequence[Stored]], None] | None = None

    def drop_what_is_gone(self, output_path: OutputPath | None) -> None:
        """Have items submitted again whose images were delivered by an earlier try and are gone: those that are older
        than the service keeps them, and after a clear those whose stored files were deleted since.

        :raises ImageNotStoredError: the user's storage cannot be asked.
        """
        stored, gone = [], []
        for item, record in self._state.records():
            if record.result is None or not self._state.is_of_earlier_try(record):
                continue
            if output_path is None or record.uris is None or record.output_path != output_path.template:
                gone += [item] if self._is_old(record) else []
            elif self._state.is_cleared(record):
                stored.append((item, record))
        missing = find_missing([uri for _, record in stored for uri in record.uris or ()]) if stored else set()
        for item, record in stored:
            if missing.intersection(record.uris or ()):
                self._state.note_files_gone(item)
                gone += [item] if self._is_old(record) else []
        for item in gone:
            self._state.reset(item)
        if gone:
            log.warning("The images of %d items are not kept any more by the service; submitting them again", len(gone))
        self._state.write()

    def _is_old(self, record: JobRecord) -> bool:
        return self._service.clock() - record.submitted_at > IMAGE_LIFETIME

    def store(self, output_path: OutputPath | None, downloads: DownloadPolicy) -> None:
        """Store the images that are not, yet; what cannot be stored becomes that item's error.

        :param downloads: which images may be downloaded, and for how long.
        """
        if output_path is None:
            for item, record in self._state.in_flight():
                if item in self.as_bytes:
                    self._state.note_failure(item, image_bytes_without_output_path(record.request_id))
        else:
            self._store_bytes(output_path, downloads)
            self._store_urls(output_path, downloads)
        self.as_bytes.clear()
        self._state.write()

    def _not_stored(self, output_path: OutputPath) -> list[tuple[Item, GenerationResult]]:
        return [
            (item, result)
            for item, record in self._state.records()
            if (result := record.generation)
            and not (record.error or record.reused)
            and record.output_path != output_path.template
        ]

    def _store_urls(self, output_path: OutputPath, downloads: DownloadPolicy) -> None:
        finished = [(item, result) for item, result in self._not_stored(output_path) if result.urls]
        self._store_finished(finished, output_path, downloads)

    def _store_bytes(self, output_path: OutputPath, downloads: DownloadPolicy) -> None:
        self.as_bytes += [item for item, result in self._not_stored(output_path) if not result.urls]
        for start in range(0, len(self.as_bytes), _BYTES_AT_ONCE):
            finished = self.fetch(self.as_bytes[start : start + _BYTES_AT_ONCE])
            self._store_finished(finished, output_path, downloads)

    def _store_finished(
        self, finished: Sequence[tuple[Item, GenerationResult]], output_path: OutputPath, downloads: DownloadPolicy
    ) -> None:
        results, keys = [result for _, result in finished], [item.own_key for item, _ in finished]
        stored = store(results, output_path, downloads, keys)
        kept: list[Stored] = []
        for (item, result), uris in zip(finished, stored, strict=True):
            if isinstance(uris, KandinskyError):
                self._state.note_failure(item, uris)
            else:
                kept.append((item, result, uris))
        if self.on_stored is not None and kept:
            self.on_stored(kept)
        for item, result, uris in kept:
            self._state.note_result(item, result)
            self._state.note_stored(item, uris, output_path.template)
