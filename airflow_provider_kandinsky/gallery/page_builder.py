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
from typing import Any, Final

from fastapi import HTTPException
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
    Section,
    failed_first,
    split_into_pages,
)
from airflow_provider_kandinsky.gallery.run_instances import Counts, RunInstances
from airflow_provider_kandinsky.gallery.stored_files import read_manifest
from airflow_provider_kandinsky.gallery.task_records import FINISHED_STATES, DagTask, Scope, TaskKind, TaskRecord

#: Instances per page of a mapped batch.
_BATCHES_PER_PAGE: Final = 5
#: Larger page numbers could overflow the database's integers.
_MAX_PAGE_NUMBER: Final = 100_000


class PageBuilder:
    """Builds the pages of a run, its tasks and their instances.

    :param api: with the rights of the page's reader.
    :param scope: the run, on the page of a task that task, and on the page of a task instance that one.
    :param serves_files: whether stored files may be read.
    :param only_failed: whether only the failed are shown.
    :raises ApiError: (from each method) the run or the task does not exist, or the reader may not see it.
    """

    def __init__(self, api: AirflowApi, scope: Scope, *, serves_files: bool, only_failed: bool = False) -> None:
        self._scope = scope
        self._only_failed = only_failed
        self._instances = RunInstances(api, scope, serves_files=serves_files)

    async def build(self, number: int) -> Page:
        """A page of what the scope names.

        :param number: from 1; the nearest page if there is none of that number.
        """
        if self._scope.task_id is None:
            return await self._run_page(number)
        if self._scope.map_index is None:
            return await self._task_page(self._scope.task_id, number)
        return await self._instance_page(await self._read(), number)

    async def read_items(self) -> list[Item]:
        """All generations of the task instance."""
        (record,) = await self._instances.with_xcoms([await self._read()])
        return await self._items(record)

    async def build_cards(self, selected: Sequence[Item], items: Sequence[Item]) -> list[Card]:
        """Build cards; see :func:`.cards.build_cards`."""
        # In a thread: the hosts are read from a connection, and its secrets backend may block.
        return await run_in_threadpool(build_cards, selected, items, datetime.now(UTC), cache(find_image_hosts))

    async def count_instances(self, task_id: str) -> int:
        """The number of instances of a task."""
        _, counts = await self._instances.page(task_id, 0, 0)
        return counts.all

    async def _run_page(self, number: int) -> Page:
        """A page of a run: its tasks, each with its first generations."""
        tasks = await self._instances.read_tasks()
        records = await self._instances.read_if_few()
        tasks += await self._instances.removed_tasks()
        # The tasks that a review has its images from show them, and count what they cost.
        tasks = [task for task in tasks if task.kind is not TaskKind.REVIEW]
        if records:
            present = {record.task_id for record in records}
            tasks = [task for task in tasks if task.task_id in present]
        is_ours = bool(tasks)
        if self._only_failed:
            failed = await self._instances.failed_tasks()
            tasks = [task for task in tasks if task.task_id in failed or task.kind is TaskKind.BATCH]
        pages = split_into_pages(tasks)
        page = PageNumber.nearest(number, len(pages), 1)
        shown = pages[page.number - 1]
        errors = MAX_ERRORS // max(1, sum(task.is_mapped for task in shown)) if self._only_failed else 0
        previews = await asyncio.gather(*(self._previews(task, errors) for task in shown))
        return await self._page([section for of_task in previews for section in of_task], page, is_ours=is_ours)

    async def _task_page(self, task_id: str, number: int) -> Page:
        """A page of all instances of a task."""
        kind = await self._kind_of(task_id)
        size = _BATCHES_PER_PAGE if kind is TaskKind.BATCH else MAPPED_PAGE_SIZE
        number = min(max(number, 1), _MAX_PAGE_NUMBER)
        # A batch that succeeded may have failed items.
        failed_alone = self._only_failed and kind is not TaskKind.BATCH
        records, counts = await self._instances.page(task_id, (number - 1) * size, size, only_failed=failed_alone)
        page = PageNumber.nearest(number, counts.all, size)
        if page.number != number:
            offset = (page.number - 1) * size
            records, counts = await self._instances.page(task_id, offset, size, only_failed=failed_alone)
        if not records and not self._only_failed:
            raise HTTPException(404)
        if [record.map_index for record in records] == [-1]:
            return await self._instance_page(records[0], number)
        records = await self._instances.with_xcoms(records)
        if any(map(is_batch, records)):
            sections = [await self._batch_preview(record) for record in records]
        else:
            section = await self._generations(task_id, records, counts, MAX_ERRORS if failed_alone else 0)
            sections = [replace(section, is_preview=False)]
        is_ours = any(record.kind for record in records) or kind is not None
        return await self._page(sections, page, is_ours=is_ours, title=task_id)

    async def _instance_page(self, record: TaskRecord, number: int) -> Page:
        """A page of one task instance."""
        (read,) = await self._instances.with_xcoms([record])
        section = await self._instance(read)
        page = PageNumber.nearest(number, section.count, BATCH_PAGE_SIZE)
        is_ours = record.kind is not None
        section = replace(
            section,
            shown=page.cut(section.shown, BATCH_PAGE_SIZE),
            is_preview=False,
            auto_refresh=section.auto_refresh and is_ours,
        )
        return await self._page([section], page, is_ours=is_ours, title=section.title, record=record)

    async def _page(self, sections: Sequence[Section], number: PageNumber, **facts: Any) -> Page:
        return await run_in_threadpool(Page.of_sections, sections, number, only_failed=self._only_failed, **facts)

    async def _previews(self, task: DagTask, errors: int) -> list[Section]:
        """The first generations of a task.

        :param errors: of how many failed instances that are not among them the errors are read.
        """
        is_of_batches = task.kind is TaskKind.BATCH
        limit = _BATCHES_PER_PAGE if is_of_batches else PREVIEW_SIZE
        failed_alone = self._only_failed and not is_of_batches
        records, counts = await self._instances.page(task.task_id, 0, limit, only_failed=failed_alone)
        records = await self._instances.with_xcoms(records)
        if not any(map(is_batch, records)):
            return [await self._generations(task.task_id, records, counts, errors)]
        previews = [await self._batch_preview(record) for record in records]
        if counts.all > len(records):
            left = counts.all - len(records)
            scope = replace(self._scope, task_id=task.task_id)
            title = f"{task.task_id}: {left} more batches"
            previews.append(Section(title, scope, [], counts.all, [], Counts(left)))
        return previews

    async def _generations(self, task_id: str, records: Sequence[TaskRecord], counts: Counts, errors: int) -> Section:
        """Some instances of a task, with the errors of others; see :func:`.failures.read_other_failures`."""
        items = [item for record in records for item in await self._items(record)]
        unread = counts.beside(records)
        elsewhere: Sequence[Item] = ()
        if errors and records and unread.failed:
            elsewhere = await read_other_failures(self._instances, records, errors)
        return Section(
            task_id,
            replace(self._scope, task_id=task_id),
            failed_first(items, only_failed=self._only_failed),
            counts.all,
            items,
            unread,
            elsewhere,
            # A task instance that is up for retry has failed, but is not finished.
            auto_refresh=counts.under_way > 0 or any(record.state not in FINISHED_STATES for record in records),
        )

    async def _batch_preview(self, record: TaskRecord) -> Section:
        section = await self._instance(record)
        return replace(section, shown=section.shown[:PREVIEW_SIZE])

    async def _instance(self, record: TaskRecord) -> Section:
        """All generations of a task instance."""
        items = await self._items(record)
        shown = await run_in_threadpool(failed_first, items, only_failed=self._only_failed)
        auto_refresh = record.state not in FINISHED_STATES
        return Section(_title(record), self._scope.of(record), shown, len(shown), items, auto_refresh=auto_refresh)

    async def _kind_of(self, task_id: str) -> TaskKind | None:
        """A task's kind by the DAG's latest version."""
        tasks = await self._instances.read_tasks()
        return next((task.kind for task in tasks if task.task_id == task_id), None)

    async def _read(self) -> TaskRecord:
        # The DAG has the kind before the fields are rendered, and after Airflow has deleted them.
        record = await self._instances.one(self._scope)
        return record if record.kind else replace(record, kind=await self._kind_of(record.task_id))

    async def _items(self, record: TaskRecord) -> list[Item]:
        if record.kind is None:
            return []
        if not is_batch(record):
            return list_items(record, read_manifest)
        return await run_in_threadpool(list_items, record, read_manifest)


def _title(record: TaskRecord) -> str:
    """The name of a task instance."""
    title = record.task_id
    if record.iteration is not None:
        title += f", iteration {record.iteration}"
    return title if record.map_index < 0 else f"{title} [{record.name or record.map_index}]"
