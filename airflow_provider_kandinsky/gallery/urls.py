"""The gallery's own URLs. Paths only, as Airflow may be known by other names than the API server hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.gallery.cards import Card
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.links.kandinsky import GALLERY_ROUTE

#: What Airflow's UI leaves in the place of the map index for a task that is not mapped.
NOT_MAPPED: Final = "{MAP_INDEX}"

#: What is left out of a page: nothing, or all but what has failed.
Only: TypeAlias = Literal["failed"] | None
#: Which page an image was opened from: one of the run, the task, or the task instance.
Within: TypeAlias = Literal["run", "task", "instance"]


@dataclass(frozen=True, slots=True)
class GalleryUrls:
    """The URLs as seen from one page.

    :param root: the path that the gallery is mounted at.
    :param scope: what the page of cards shows.
    :param page: its number.
    :param only: what it shows of it.
    """

    root: str
    scope: Scope
    page: int = 1
    only: Only = None

    def gallery(self, scope: Scope | None = None, *, page: int = 1, only: Only = None) -> str:
        """A page of cards: of this scope if no other is given."""
        scope = scope or self.scope
        run = f"{self.root}/dags/{_segment(scope.dag_id)}/runs/{_segment(scope.run_id)}"
        path = run if scope.task_id is None else _of_task(run, scope.task_id, scope.map_index)
        return path + _query(page=page if page > 1 else None, only=only)

    def back(self) -> str:
        """The page of cards that this is, or that the image was opened from."""
        return self.gallery(page=self.page, only=self.only)

    def run(self) -> str:
        """All images of the run."""
        return self.gallery(Scope(self.scope.dag_id, self.scope.run_id))

    def task(self, task_id: str) -> str:
        """All images of a task."""
        return self.gallery(Scope(self.scope.dag_id, self.scope.run_id, task_id))

    def picture(self, card: Card | Item, index: int = 0) -> str:
        """A generation, with all that is known of it, and one of its images large."""
        return self.image_at(card.record.task_id, card.record.map_index, card.position, index)

    def image_at(self, task_id: str, map_index: int, position: int, index: int) -> str:
        """The same by its place."""
        within: Within = "instance"
        if self.scope.task_id is None:
            within = "run"
        elif self.scope.map_index is None:
            within = "task"
        view = _query(within=within, page=self.page if self.page > 1 else None, only=self.only)
        return self._place(task_id, map_index, position, index) + view

    def file(self, card: Card, index: int) -> str:
        """A stored image itself. The time lets no browser keep the one of an earlier try in its place."""
        version = card.record.written_at.timestamp() if card.record.written_at else 0
        place = self._place(card.record.task_id, card.record.map_index, card.position, index)
        return f"{place}/file{_query(v=version)}"

    def tab(self) -> str:
        """The tab on a task instance, in Airflow's own UI."""
        ui = self.root.removesuffix(f"/{GALLERY_ROUTE}")
        path = f"/dags/{_segment(self.scope.dag_id)}/runs/{_segment(self.scope.run_id)}"
        path += f"/tasks/{_segment(self.scope.task_id or '')}"
        if self.scope.map_index not in (None, -1):
            path += f"/mapped/{self.scope.map_index}"
        return f"{ui}{path}/plugin/{GALLERY_ROUTE}"

    def static(self, name: str) -> str:
        """A style sheet or script."""
        return f"{self.root}/static/{name}?v={__version__}"

    def _place(self, task_id: str, map_index: int, position: int, index: int) -> str:
        scope = Scope(self.scope.dag_id, self.scope.run_id, task_id, map_index)
        return f"{self.gallery(scope)}/{position}/{index}"


def _of_task(run: str, task_id: str, map_index: int | None) -> str:
    return f"{run}/tasks/{_segment(task_id)}/{_segment(NOT_MAPPED if map_index is None else str(map_index))}"


def _query(**parameters: object) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _segment(name: str) -> str:
    return quote(name, safe="")
