"""The gallery's own URLs: paths only, as browsers may reach Airflow under another host name. And those of the docs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

from airflow_provider_kandinsky import __version__, exceptions
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.regions import Region, region_parameters
from airflow_provider_kandinsky.gallery.task_records import Scope
from airflow_provider_kandinsky.links.documentation import documentation_url, error_url
from airflow_provider_kandinsky.links.kandinsky import GALLERY_ROUTE

#: The placeholder that Airflow's UI leaves in the tab's URL of a task that is not mapped.
NOT_MAPPED: Final = "{MAP_INDEX}"

#: Filter of a page: ``"failed"``, or ``None`` for no filter.
Only: TypeAlias = Literal["failed"] | None
#: The kind of page that an image was opened from.
Within: TypeAlias = Literal["run", "task", "instance"]


@dataclass(frozen=True, slots=True)
class GalleryUrls:
    """Builds the URLs that one page links to.

    :param root: the path that the gallery is mounted at.
    :param scope: the task instances that the page shows.
    :param page: its number, from 1.
    :param only: its filter.
    :param documentation: the address of the docs; ``None`` if they have none.
    """

    root: str
    scope: Scope
    page: int = 1
    only: Only = None
    documentation: str | None = field(default_factory=documentation_url)

    def gallery(self, scope: Scope | None = None, *, page: int = 1, only: Only = None) -> str:
        """A page of cards; of the same scope by default."""
        scope = scope or self.scope
        return self._path(scope) + _query(region=scope.region, page=page if page > 1 else None, only=only)

    def back(self) -> str:
        """The page of cards that an image was opened from."""
        return self.gallery(page=self.page, only=self.only)

    def run(self) -> str:
        """The page of the whole run."""
        return self.gallery(Scope(self.scope.dag_id, self.scope.run_id))

    def task(self, task_id: str) -> str:
        """The page of all instances of a task."""
        return self.gallery(Scope(self.scope.dag_id, self.scope.run_id, task_id))

    def image(self, item: Item, index: int = 0) -> str:
        """The page of a generation, with one of its images large."""
        record = item.record
        return self.image_at(record.task_id, record.map_index, item.position, index, record.region)

    def image_at(self, task_id: str, map_index: int, position: int, index: int, region: Region | None = None) -> str:
        """The same by its position."""
        within: Within = "instance"
        if self.scope.task_id is None:
            within = "run"
        elif self.scope.map_index is None:
            within = "task"
        view = _query(region=region, within=within, page=self.page if self.page > 1 else None, only=self.only)
        return self._image_path(task_id, map_index, position, index) + view

    def file(self, item: Item, index: int) -> str:
        """The bytes of a stored image. The time keeps browsers from showing the cached image of an earlier try."""
        record = item.record
        version = record.written_at.timestamp() if record.written_at else 0
        path = self._image_path(record.task_id, record.map_index, item.position, index)
        return f"{path}/file{_query(region=record.region, v=version)}"

    def tab(self) -> str:
        """The tab of a task instance in Airflow's UI."""
        ui = self.root.removesuffix(f"/{GALLERY_ROUTE}")
        path = f"/dags/{_segment(self.scope.dag_id)}/runs/{_segment(self.scope.run_id)}"
        path += f"/tasks/{_segment(self.scope.task_id or '')}"
        if self.scope.map_index not in (None, -1):
            path += f"/mapped/{self.scope.map_index}"
        return f"{ui}{path}/plugin/{GALLERY_ROUTE}{_query(**region_parameters(self.scope.region))}"

    def is_explained(self, error_type: str | None) -> bool:
        """Whether the docs have a section about an error type. DAG authors can write any into an XCom."""
        return error_type in exceptions.__all__ and error_type != exceptions.Billing.__name__

    def explanation(self, error_type: str) -> str | None:
        """That section; ``None`` if the docs have no address, or do not know the type."""
        return error_url(error_type, self.documentation) if self.is_explained(error_type) else None

    def static(self, name: str) -> str:
        """A style sheet or script."""
        return f"{self.root}/static/{name}?v={__version__}"

    def _image_path(self, task_id: str, map_index: int, position: int, index: int) -> str:
        scope = Scope(self.scope.dag_id, self.scope.run_id, task_id, map_index)
        return f"{self._path(scope)}/{position}/{index}"

    def _path(self, scope: Scope) -> str:
        path = f"{self.root}/dags/{_segment(scope.dag_id)}/runs/{_segment(scope.run_id)}"
        if scope.task_id is None:
            return path
        map_index = NOT_MAPPED if scope.map_index is None else str(scope.map_index)
        return f"{path}/tasks/{_segment(scope.task_id)}/{_segment(map_index)}"


def _query(**parameters: object) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _segment(name: str) -> str:
    return quote(name, safe="")
