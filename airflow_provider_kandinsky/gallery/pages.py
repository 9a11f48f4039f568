"""What a page shows: its sections, totals and page number. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from airflow_provider_kandinsky.gallery.causes import Cause, sum_up_failures
from airflow_provider_kandinsky.gallery.items import Item, State
from airflow_provider_kandinsky.gallery.regions import Region
from airflow_provider_kandinsky.gallery.run_instances import Counts
from airflow_provider_kandinsky.gallery.task_records import DagTask, Scope, TaskRecord

_T = TypeVar("_T")
#: An image's task id, map index, position, index and region.
ImageKey: TypeAlias = tuple[str, int, int, int, Region | None]

#: Cards per page of a batch, whose results are in one or two XComs.
BATCH_PAGE_SIZE: Final = 60
#: Cards per page of a mapped task, each of which has its own XComs.
MAPPED_PAGE_SIZE: Final = 24
#: Cards of a batch or a mapped task on the page of its run.
PREVIEW_SIZE: Final = 8
#: Cards per page of a run.
_RUN_PAGE_SIZE: Final = 40


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over items, whether or not they are on the page.

    :param cost: in US dollars; each request is counted once, even if several items share it.
    :param unknown_costs: requests without a known cost.
    :param unlisted: generations that are not listed one by one; their images are not counted.
    :param unread: generations whose images and cost are not counted, as their XComs were not read.
    """

    generations: int = 0
    images: int = 0
    cost: float = 0.0
    unknown_costs: int = 0
    failures: int = 0
    under_way: int = 0
    unlisted: int = 0
    unread: int = 0

    @classmethod
    def from_items(cls, items: Sequence[Item], unread: Sequence[Counts] = ()) -> Totals:
        """Sum up.

        :param unread: further generations, whose XComs were not read.
        """
        not_read = generations = sum(counts.all for counts in unread)
        failures = sum(counts.failed for counts in unread)
        under_way = sum(counts.under_way for counts in unread)
        images = unlisted = 0
        costs: dict[str | int, float | None] = {}
        for index, item in enumerate(items):
            count, cost, state = len(item.uris), item.cost, item.state
            generations += item.unlisted or 1
            images += count
            unlisted += item.unlisted
            failures += item.failures if item.unlisted else state is State.FAILED
            under_way += state is State.UNDER_WAY
            if count or cost:
                costs[item.request_id or index] = cost
        known = [cost for cost in costs.values() if cost is not None]
        return cls(generations, images, sum(known), len(costs) - len(known), failures, under_way, unlisted, not_read)


@dataclass(frozen=True, slots=True)
class PageNumber:
    """A page number.

    :param number: from 1.
    :param count: the number of pages; at least 1.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def nearest(cls, number: int, items: int, size: int) -> PageNumber:
        """The nearest existing page, as the last one may have disappeared by a clear.

        :param items: the number of items.
        :param size: so many are on a page.
        """
        count = max(1, -(-items // size))
        return cls(min(max(1, number), count), count)

    def cut(self, items: Sequence[_T], size: int) -> Sequence[_T]:
        """What is on this page."""
        return items[(self.number - 1) * size : self.number * size]


@dataclass(frozen=True, slots=True)
class Section:
    """Some task instances: the generations of them that are shown, and what they add to the totals.

    :param title: what names it among others.
    :param scope: what it shows a part of.
    :param shown: those that are shown.
    :param count: how many generations it has; of those that are to be shown only, if not all are.
    :param items: all items that were read, shown or not.
    :param unread: generations that were not read.
    :param failed_elsewhere: some of the failed that were not read, with nothing but their errors.
    :param is_preview: whether the rest is on a page of its own.
    :param auto_refresh: whether results may follow.
    """

    title: str
    scope: Scope
    shown: Sequence[Item]
    count: int
    items: Sequence[Item]
    unread: Counts = field(default_factory=Counts)
    failed_elsewhere: Sequence[Item] = ()
    is_preview: bool = True
    auto_refresh: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page.

    :param totals: of the run, task or task instance; see :attr:`Totals.unread`.
    :param causes: of the failures, if there are several.
    :param title: the task or task instance; ``None`` for a run.
    :param record: the task instance; ``None`` for a run, or all instances of a task.
    :param is_ours: whether there is any Kandinsky task.
    :param auto_refresh: whether results may follow, so that the browser reloads the page.
    """

    sections: Sequence[Section]
    number: PageNumber = field(default_factory=PageNumber)
    totals: Totals = field(default_factory=Totals)
    causes: Sequence[Cause] = ()
    title: str | None = None
    record: TaskRecord | None = None
    is_ours: bool = True
    auto_refresh: bool = False

    @classmethod
    def of_sections(cls, sections: Sequence[Section], number: PageNumber, *, only_failed: bool, **facts: Any) -> Page:
        """Put its sections together.

        :param only_failed: whether sections without a failure are left out.
        :param facts: the page's other fields.
        """
        items = [item for section in sections for item in section.items]
        totals = Totals.from_items(items, [section.unread for section in sections])
        elsewhere = [item for section in sections for item in section.failed_elsewhere]
        causes = sum_up_failures(items + elsewhere, totals.failures) if totals.failures > 1 else ()
        auto_refresh = any(section.auto_refresh for section in sections)
        shown = [section for section in sections if section.shown or (section.count and not only_failed)]
        return cls(shown, number, totals, causes, auto_refresh=auto_refresh, **facts)

    @property
    def items(self) -> list[Item]:
        """The items on this page."""
        return [item for section in self.sections for item in section.shown]


def failed_first(items: Sequence[Item], *, only_failed: bool = False) -> list[Item]:
    """Sort items as they are shown."""
    if only_failed:
        return [item for item in items if item.has_failed]
    return sorted(items, key=lambda item: not item.has_failed)


def split_into_pages(tasks: Iterable[DagTask]) -> list[list[DagTask]]:
    """Split the tasks of a run into pages, without reading their instances."""
    pages: list[list[DagTask]] = []
    room = 0
    for task in tasks:
        cards = PREVIEW_SIZE if task.is_mapped or task.kind == "batch" else 1
        if cards > room:
            pages.append([])
            room = _RUN_PAGE_SIZE
        pages[-1].append(task)
        room -= cards
    return pages or [[]]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The previous and next image of a task.

    :param number: of this image in its task instance, from 1.
    :param count: the number of images of the task instance.
    """

    number: int
    count: int
    previous: ImageKey | None = None
    next: ImageKey | None = None

    @classmethod
    def find(cls, item: Item, index: int, items: Sequence[Item], siblings: int) -> Neighbours:
        """Find the neighbours of an image.

        :param items: all items of the task instance.
        :param siblings: the number of instances of the task.
        """
        task_id, map_index, region = item.record.task_id, item.record.map_index, item.record.region
        keys = [
            (task_id, map_index, each.position, number, region)
            for each in items
            for number in range(max(len(each.uris), each is item))
        ]
        at = keys.index((task_id, map_index, item.position, index, region))
        before, after = keys[at - 1] if at else None, keys[at + 1] if at + 1 < len(keys) else None
        if before is None and 0 < map_index < siblings:
            before = (task_id, map_index - 1, 0, 0, None)
        if after is None and 0 <= map_index < siblings - 1:
            after = (task_id, map_index + 1, 0, 0, None)
        return cls(at + 1, len(keys), before, after)
