"""The gallery's own URLs. Paths only, as Airflow may be known by other names than the API server hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.gallery.cards import Card
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.records import Scope

#: What Airflow's UI leaves in the place of the map index for a task that is not mapped.
NOT_MAPPED: Final = "{MAP_INDEX}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs as seen from one page.

    :param root: the path that the gallery is mounted at.
    :param scope: what the page shows.
    """

    root: str
    scope: Scope

    def gallery(self, page: int = 1) -> str:
        """A page of the cards."""
        task_id = self.scope.task_id
        path = self._of_run() if task_id is None else self._of_task(task_id, self.scope.map_index)
        return path if page == 1 else f"{path}?{urlencode({'page': page})}"

    def picture(self, card: Card | Item, index: int) -> str:
        """One picture, with all that is known of it; from there it goes on to the next one of this scope."""
        return self._of_picture(card, index) + ("?within=run" if self.scope.task_id is None else "")

    def file(self, card: Card, index: int) -> str:
        """A stored picture itself. The time lets no browser keep the one of an earlier try in its place."""
        version = card.record.written_at.timestamp() if card.record.written_at else 0
        return f"{self._of_picture(card, index)}/file?{urlencode({'v': version})}"

    def static(self, name: str) -> str:
        """A style sheet or script."""
        return f"{self.root}/static/{name}?v={__version__}"

    def _of_run(self) -> str:
        return f"{self.root}/dags/{_segment(self.scope.dag_id)}/runs/{_segment(self.scope.run_id)}"

    def _of_task(self, task_id: str, map_index: int | None) -> str:
        last = NOT_MAPPED if map_index is None else str(map_index)
        return f"{self._of_run()}/tasks/{_segment(task_id)}/{_segment(last)}"

    def _of_picture(self, card: Card | Item, index: int) -> str:
        return f"{self._of_task(card.record.task_id, card.record.map_index)}/{card.position}/{index}"


def _segment(name: str) -> str:
    return quote(name, safe="")
