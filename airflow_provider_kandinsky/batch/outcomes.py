"""What became of the jobs of a batch: results and errors noted, pictures stored."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_provider_kandinsky.batch.items import Item
from airflow_provider_kandinsky.batch.ledger import BatchEntry
from airflow_provider_kandinsky.batch.purchases import BatchState
from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.durable.policy import Step, after_not_found
from airflow_provider_kandinsky.durable.reconciliation import HistoryReconciler
from airflow_provider_kandinsky.durable.verdicts import expired_error
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.results.delivery import image_bytes_without_output_path
from airflow_provider_kandinsky.results.storage import OutputPath, find_missing, store
from airflow_provider_kandinsky.segmind.errors import JobExpiredError, JobFailedError, KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.schemas import IMAGE_LIFETIME, GenerationResult

log = logging.getLogger(__name__)

#: So many results that hold their pictures are in memory at a time.
_BYTES_AT_ONCE: Final = 8


class Outcomes:
    """Takes in what became of jobs.

    :param purchases: what is wanted, and how far it has come.
    :param hook: the service.
    :param runner: the event loop that the hook's async client lives in.
    :param history: the request history.
    :param model: the slug.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        purchases: BatchState,
        hook: KandinskyHook,
        runner: TimeoutAwareRunner,
        history: HistoryReconciler,
        model: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._purchases = purchases
        self._hook = hook
        self._runner = runner
        self._history = history
        self._model = model
        self._clock = clock
        self._as_bytes: list[Item] = []

    def take(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what became of jobs.

        :param outcomes: see :data:`~airflow_provider_kandinsky.triggers.batch.OutcomesById`.
        """
        for item, entry in self._purchases.in_flight():
            outcome = outcomes.get(entry.request_id or "")
            if outcome is None:
                continue
            if "error" in outcome:
                self._record_error(item, entry, error_from_dict(dict(outcome["error"])))
            elif "result" in outcome:
                self._purchases.note_result(item, GenerationResult.from_dict(outcome["result"]))
            else:
                self._as_bytes.append(item)
        self._purchases.write()

    def drop_what_is_gone(self, output_path: OutputPath | None) -> None:
        """Have submitted again what an earlier try has delivered and is not to be had any more: images that are older
        than the service keeps them, and after a clear stored files that were deleted since.

        :raises ImageNotStoredError: the user's storage cannot be asked.
        """
        stored, gone = [], []
        for item, entry in self._purchases.entries():
            if entry.result is None or not self._purchases.is_of_earlier_try(entry):
                continue
            if output_path is None or entry.uris is None or entry.output_path != output_path.template:
                gone += [item] if self._is_old(entry) else []
            elif self._purchases.is_cleared(entry):
                stored.append((item, entry))
        missing = find_missing([uri for _, entry in stored for uri in entry.uris or ()]) if stored else set()
        for item, entry in stored:
            if missing.intersection(entry.uris or ()):
                self._purchases.note_files_gone(item)
                gone += [item] if self._is_old(entry) else []
        for item in gone:
            self._purchases.reset(item)
        if gone:
            log.warning("The images of %d items are not kept any more by the service; submitting them again", len(gone))
        self._purchases.write()

    def _is_old(self, entry: BatchEntry) -> bool:
        return self._clock() - entry.submitted_at > IMAGE_LIFETIME

    def store(self, output_path: OutputPath | None, downloads: DownloadPolicy) -> None:
        """Store the pictures that are not, yet; what cannot be stored becomes that item's error.

        :param downloads: which images may be downloaded, and for how long.
        """
        if output_path is None:
            for item, entry in self._purchases.in_flight():
                if item in self._as_bytes:
                    self._purchases.note_failure(item, image_bytes_without_output_path(entry.request_id))
        else:
            self._store_bytes(output_path, downloads)
            self._store_urls(output_path, downloads)
        self._as_bytes.clear()
        self._purchases.write()

    def _not_stored(self, output_path: OutputPath) -> list[tuple[Item, GenerationResult]]:
        return [
            (item, result)
            for item, entry in self._purchases.entries()
            if (result := entry.generation) and not entry.error and entry.output_path != output_path.template
        ]

    def _store_urls(self, output_path: OutputPath, downloads: DownloadPolicy) -> None:
        finished = [(item, result) for item, result in self._not_stored(output_path) if result.urls]
        self._note_stored(finished, store([result for _, result in finished], output_path, downloads), output_path)

    def _store_bytes(self, output_path: OutputPath, downloads: DownloadPolicy) -> None:
        self._as_bytes += [item for item, result in self._not_stored(output_path) if not result.urls]
        for start in range(0, len(self._as_bytes), _BYTES_AT_ONCE):
            finished = []
            for item, result in self._fetch(self._as_bytes[start : start + _BYTES_AT_ONCE]):
                if isinstance(result, KandinskyError):
                    if (entry := self._purchases.entry(item)) is not None:
                        # Asked for once, unlike what was waited for.
                        self._record_error(item, entry, result, has_waited=False)
                else:
                    finished.append((item, result.with_seed(item.seed)))
            self._note_stored(finished, store([result for _, result in finished], output_path, downloads), output_path)

    def _note_stored(
        self,
        finished: Sequence[tuple[Item, GenerationResult]],
        stored: Sequence[list[str] | KandinskyError],
        output_path: OutputPath,
    ) -> None:
        for (item, result), uris in zip(finished, stored, strict=True):
            if isinstance(uris, KandinskyError):
                self._purchases.note_failure(item, uris)
            else:
                self._purchases.note_result(item, result)
                self._purchases.note_stored(item, uris, output_path.template)

    def _fetch(self, items: Sequence[Item]) -> list[tuple[Item, GenerationResult | KandinskyError]]:
        """Ask for results that do not travel in events, because they hold the pictures themselves."""

        async def fetch_one(item: Item) -> GenerationResult | KandinskyError:
            entry = self._purchases.entry(item)
            try:
                return await self._hook.aget_result((entry and entry.request_id) or "", self._model)
            except KandinskyError as error:
                return error

        async def fetch_all() -> list[GenerationResult | KandinskyError]:
            return await asyncio.gather(*map(fetch_one, items))

        return list(zip(items, self._runner.run(fetch_all()), strict=True))

    def _record_error(self, item: Item, entry: BatchEntry, error: KandinskyError, *, has_waited: bool = True) -> None:
        step, is_of_earlier_try = Step.FAIL, self._purchases.is_of_earlier_try(entry)
        if isinstance(error, JobExpiredError):
            request_id, samples = entry.request_id or "", item.request.samples or 1
            finding = self._history.find_job(request_id, entry.submitted_at, samples)
            age = self._clock() - entry.submitted_at
            step = after_not_found(finding.history, age, self._history.on_unknown_submit, has_waited=has_waited)
            if step is Step.DELIVER and finding.row is not None:
                self._purchases.note_result(item, finding.row.result())
                return
            if step is Step.REATTACH and entry.is_in_flight:
                log.info("The service does not know request %s, and its history says: %s", request_id, finding.history)
                return  # it is still in flight
            if step in (Step.WAIT, Step.INCOMPLETE) or (step is Step.FAIL and is_of_earlier_try):
                error = expired_error(step, finding, request_id, samples)
        elif isinstance(error, JobFailedError) and error.retryable:
            step = Step.SUBMIT
        if step is Step.SUBMIT and is_of_earlier_try:
            # This try is the retry that the error asks for.
            log.info("Request %s of an earlier try came to nothing (%s); submitting anew", entry.request_id, error)
            self._purchases.reset(item)
        else:
            self._purchases.note_failure(item, error)
