"""Read why instances of a mapped task failed that are not on the page, so that it can say so of all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.run_instances import RunInstances
from airflow_provider_kandinsky.gallery.task_records import TaskRecord

#: The most errors that are read for one page, at a call each.
MAX_ERRORS: Final = 100
#: Task instances per call; all have their rendered fields with them.
_CHUNK_SIZE: Final = 50


async def read_other_failures(instances: RunInstances, read: Sequence[TaskRecord], limit: int) -> list[Item]:
    """Read the errors of failed instances, and nothing else of them.

    :param instances: of the run.
    :param read: instances of one task that were read already; at least one.
    :param limit: how many errors are read at most: those of the first failed instances by map index.
    """
    task_id, known = read[0].task_id, {(record.map_index, record.region) for record in read}
    others: list[TaskRecord] = []
    offset = 0
    while len(others) < limit:
        failed, counts = await instances.page(task_id, offset, _CHUNK_SIZE, only_failed=True)
        others += [record for record in failed if (record.map_index, record.region) not in known]
        offset += _CHUNK_SIZE
        if offset >= counts.failed:
            break
    del others[limit:]
    errors = await asyncio.gather(*map(instances.read_error, others))
    return [Item(record, row={"error": error}) for record, error in zip(others, errors, strict=True)]
