"""Build pages: read the task instances that a page shows, and no others, from Airflow's REST API.

This runs in the API server's event loop. Work on each of a batch's items, up to 10,000, and reads of a storage run in a
thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from fastapi.concurrency import run_in_threadpool

from airflow_provider_kandinsky.gallery.api import AirflowApi
from airflow_provider_kandinsky.gallery.cards import Card, build_cards
from airflow_provider_kandinsky.gallery.failures import MAX_ERRORS, read_other_failures
from airflow_provider_kandinsky.gallery.image_hosts import find_image_hosts
from airflow_provider_kandinsky.gallery.items import Item, is_batch, list_items
from airflow_provider_kandinsky.gallery.pages import (
    BATCH_PAGE_SIZE,
    MAPPED_PAGE_SIZE,
    PREVIEW_SIZE,
    Page,
    PageNumber,
    Part,
    Section,
    failed_first,
    split_into_pages,
)
from airflow_provider_kandinsky.gallery.run_instances import Counts, DagTask, NotFoundError, RunInstances, read_tasks
from airflow_provider_kandinsky.gallery.stored_files import read_manifest
from airflow_provider_kandinsky.gallery.task_records import (
    FAILED_STATES,
    FINISHED_STATES,
    Scope,
    TaskKind,
    TaskRecord,
    read_xcoms,
)

#: Task instances whose XComs are read at the same time; the API server has other clients.
_CONCURRENT_READS: Final = 4
#: Instances per page of a mapped batch.
_BATCHES_PER_PAGE: Final = 5
#: Larger page numbers could overflow the database's integers.
_MAX_PAGE_NUMBER: Final = 100_000


class PageBuilder:
    """Builds the pages of a run, its tasks and their instances.

    :param api: with the rights of the page's reader.
    :param scope: the run, and on the page of a task that task.
    :param serves_files: whether stored files may be read.
    :raises NotFoundError: (from each method) the run or the task does not exist.
    """

    def __init__(self, api: AirflowApi, scope: Scope, *, serves_files: bool) -> None:
        self._api = api
        self._scope = scope
        self._serves_files = serves_files
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)

    async def run_page(self, number: int, *, only_failed: bool) -> Page:
        """A page of a run: its tasks, each with its first generations."""
        tasks = await read_tasks(self._api, self._scope.dag_id)
        instances = self._instances(tasks)
        records = await instances.read_if_few()
        tasks += await instances.removed_tasks()
        # The tasks that a review has its images from show them, and count what they cost.
        tasks = [task for task in tasks if task.kind is not TaskKind.REVIEW]
        if records:
            present = {record.task_id for record in records}
            tasks = [task for task in tasks if task.task_id in present]
        is_ours = bool(tasks)
        if only_failed:
            failed = await instances.failed_tasks()
            tasks = [task for task in tasks if task.task_id in failed or task.kind is TaskKind.BATCH]
        pages = split_into_pages(tasks)
        page = PageNumber.nearest(number, len(pages), 1)
        shown = pages[page.number - 1]
        errors = MAX_ERRORS // max(1, sum(task.is_mapped for task in shown)) if only_failed else 0
        previews = [self._preview_parts(instances, task, errors, only_failed=only_failed) for task in shown]
        parts = [part for parts_of_task in await asyncio.gather(*previews) for part in parts_of_task]
        return await run_in_threadpool(Page.of_parts, parts, page, only_failed=only_failed, is_ours=is_ours)

    async def task_page(self, task_id: str, number: int, *, only_failed: bool) -> Page:
        """A page of all instances of a task."""
        instances, kind = await self._instances_of_task(task_id)
        size = _BATCHES_PER_PAGE if kind is TaskKind.BATCH else MAPPED_PAGE_SIZE
        number = min(max(number, 1), _MAX_PAGE_NUMBER)
        # A batch that succeeded may have failed items.
        failed_alone = only_failed and kind is not TaskKind.BATCH
        records, counts = await instances.page(task_id, (number - 1) * size, size, only_failed=failed_alone)
        page = PageNumber.nearest(number, counts.all, size)
        if page.number != number:
            offset = (page.number - 1) * size
            records, counts = await instances.page(task_id, offset, size, only_failed=failed_alone)
        if not records and not only_failed:
            raise NotFoundError(task_id)
        if [record.map_index for record in records] == [-1]:
            return await self._record_page(records[0], number, only_failed=only_failed)
        records = await self._with_xcoms(records)
        if any(map(is_batch, records)):
            parts = [await self._batch_part(record, only_failed=only_failed) for record in records]
        else:
            part = await self._generations_part(task_id, records, counts, only_failed=failed_alone)
            part = await self._with_other_failures(part, instances, records, MAX_ERRORS if failed_alone else 0)
            parts = [replace(part, section=replace(part.section, is_preview=False))]
        is_ours = any(record.kind for record in records) or kind is not None
        whole = await run_in_threadpool(Page.of_parts, parts, page, only_failed=only_failed, is_ours=is_ours)
        return replace(whole, title=task_id)

    async def instance_page(self, task_id: str, map_index: int, number: int, *, only_failed: bool) -> Page:
        """A page of one task instance."""
        return await self._record_page(await self._read(task_id, map_index), number, only_failed=only_failed)

    async def read_items(self, task_id: str, map_index: int) -> list[Item]:
        """All generations of one task instance."""
        record = await self._read(task_id, map_index)
        return await self._items(await self._with_xcoms_of(record))

    async def build_cards(self, selected: Sequence[Item], items: Sequence[Item]) -> list[Card]:
        """Build cards; see :func:`.cards.build_cards`."""
        # In a thread: the hosts are read from a connection, and its secrets backend may block.
        return await run_in_threadpool(build_cards, selected, items, datetime.now(UTC), cache(find_image_hosts))

    async def count_instances(self, task_id: str) -> int:
        """The number of instances of a task."""
        _, counts = await self._instances([]).page(task_id, 0, 0)
        return counts.all

    def _instances(self, tasks: Sequence[DagTask]) -> RunInstances:
        return RunInstances(self._api, self._scope, tasks, serves_files=self._serves_files)

    async def _instances_of_task(self, task_id: str) -> tuple[RunInstances, TaskKind | None]:
        tasks = await read_tasks(self._api, self._scope.dag_id)
        kind = next((task.kind for task in tasks if task.task_id == task_id), None)
        return self._instances(tasks), kind

    async def _read(self, task_id: str, map_index: int) -> TaskRecord:
        # The DAG has the kind before the fields are rendered, and after Airflow has deleted them.
        record = await self._instances([]).one(task_id, map_index, self._scope.region)
        if record.kind is None:
            _, kind = await self._instances_of_task(task_id)
            record = replace(record, kind=kind)
        return record

    async def _record_page(self, record: TaskRecord, number: int, *, only_failed: bool) -> Page:
        items = await self._items(await self._with_xcoms_of(record))
        shown = await run_in_threadpool(failed_first, items, only_failed=only_failed)
        page = PageNumber.nearest(number, len(shown), BATCH_PAGE_SIZE)
        scope = replace(self._scope, task_id=record.task_id, map_index=record.map_index, region=record.region)
        cut = page.cut(shown, BATCH_PAGE_SIZE)
        part = Part(
            Section(_title(record), scope, cut, len(shown), is_preview=False),
            items,
            auto_refresh=record.state not in FINISHED_STATES and record.kind is not None,
        )
        is_ours = record.kind is not None
        whole = await run_in_threadpool(Page.of_parts, [part], page, only_failed=only_failed, is_ours=is_ours)
        return replace(whole, title=_title(record), record=record)

    async def _preview_parts(
        self, instances: RunInstances, task: DagTask, errors: int, *, only_failed: bool
    ) -> list[Part]:
        """The first generations of a task.

        :param errors: of how many failed instances that are not among them the errors are read.
        """
        is_of_batches = task.kind is TaskKind.BATCH
        limit = _BATCHES_PER_PAGE if is_of_batches else PREVIEW_SIZE
        records, counts = await instances.page(task.task_id, 0, limit, only_failed=only_failed and not is_of_batches)
        records = await self._with_xcoms(records)
        if not any(map(is_batch, records)):
            part = await self._generations_part(task.task_id, records, counts, only_failed=only_failed)
            return [await self._with_other_failures(part, instances, records, errors)]
        parts = [await self._batch_part(record, only_failed=only_failed) for record in records]
        if counts.all > len(records):
            left = counts.all - len(records)
            scope = replace(self._scope, task_id=task.task_id)
            title = f"{task.task_id}: {left} more batches"
            parts.append(Part(Section(title, scope, [], counts.all), [], (left, 0, 0)))
        return parts

    async def _generations_part(
        self, task_id: str, records: Sequence[TaskRecord], counts: Counts, *, only_failed: bool
    ) -> Part:
        items = [item for record in records for item in await self._items(record)]
        scope = replace(self._scope, task_id=task_id)
        unread = (
            counts.all - len(records),
            counts.failed - sum(record.state in FAILED_STATES for record in records),
            counts.under_way - sum(record.state not in (*FINISHED_STATES, *FAILED_STATES) for record in records),
        )
        section = Section(task_id, scope, failed_first(items, only_failed=only_failed), counts.all)
        # A task instance that is up for retry has failed, but is not finished.
        auto_refresh = counts.under_way > 0 or any(record.state not in FINISHED_STATES for record in records)
        return Part(section, items, unread, auto_refresh=auto_refresh)

    async def _with_other_failures(
        self, part: Part, instances: RunInstances, records: Sequence[TaskRecord], limit: int
    ) -> Part:
        """Add what failed on other pages; see :func:`.failures.read_other_failures`."""
        if not (limit and records and part.unread[1]):
            return part
        others = await read_other_failures(self._api, self._scope, instances, records, limit, self._slots)
        return replace(part, failed_elsewhere=others)

    async def _batch_part(self, record: TaskRecord, *, only_failed: bool) -> Part:
        items = await self._items(record)
        shown = await run_in_threadpool(failed_first, items, only_failed=only_failed)
        scope = replace(self._scope, task_id=record.task_id, map_index=record.map_index, region=record.region)
        section = Section(_title(record), scope, shown[:PREVIEW_SIZE], len(shown))
        return Part(section, items, auto_refresh=record.state not in FINISHED_STATES)

    async def _items(self, record: TaskRecord) -> list[Item]:
        if record.kind is None:
            return []
        if not is_batch(record):
            return list_items(record, read_manifest)
        return await run_in_threadpool(list_items, record, read_manifest)

    async def _with_xcoms(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        return list(await asyncio.gather(*map(self._with_xcoms_of, records)))

    async def _with_xcoms_of(self, record: TaskRecord) -> TaskRecord:
        if record.state is None or record.kind is None:
            return record
        async with self._slots:
            record = await self._instances([]).with_fields(record)
            return await read_xcoms(self._api, self._scope, record)


def _title(record: TaskRecord) -> str:
    """The name of a task instance."""
    title = record.task_id
    if record.iteration is not None:
        title += f", iteration {record.iteration}"
    return title if record.map_index < 0 else f"{title} [{record.name or record.map_index}]"
