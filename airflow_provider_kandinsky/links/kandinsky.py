"""The link from a task to its first image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs
from airflow_provider_kandinsky.compat.loops import loop_region, supports_loops

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

#: The gallery's path below Airflow's own URL, and the route of its tab on a task instance.
GALLERY_ROUTE: Final = "kandinsky-gallery"
#: The route of its tab on a DAG run: Airflow takes each route once only.
RUN_GALLERY_ROUTE: Final = "kandinsky-gallery-run"

_PACKAGE: Final = __name__.partition(".")[0]
#: By module and name, what has a :class:`ServedImageLink`.
_SERVED: Final = (
    (f"{_PACKAGE}.operators.text_to_image", "KandinskyTextToImageOperator"),
    (f"{_PACKAGE}.operators.text_to_image_batch", "KandinskyTextToImageBatchOperator"),
    (f"{_PACKAGE}.decorators.kandinsky", "_KandinskyDecoratedOperator"),
    (f"{_PACKAGE}.sensors.job", "KandinskyJobSensor"),
)


class TaskInstanceName(Protocol):
    """The ids of a task instance; Airflow's keys and task instances have them."""

    @property
    def dag_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def map_index(self) -> int | None: ...


class KandinskyImageLink(BaseOperatorLink):
    """Links to the first image of a task.

    The URL is one of the gallery's, which redirects to the image, or to the gallery's tab on the task while there is no
    image to show. So it is the same from the start of a task to its end, and reads no XCom. The API server makes it
    where it can, see :class:`ServedImageLink`. Otherwise Airflow calls this in the worker when a task ends, fails or is
    deferred, and keeps the URL as an XCom.
    """

    name = "Image"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL. Without a gallery (Airflow 3.0) it is the image's own, or empty if there is none."""
        if supports_plugin_tabs():
            return _redirect_to_image(ti_key)
        return _image_url(operator)


class ServedImageLink(KandinskyImageLink):
    """The link of this package's own operators, which the API server makes: the plugin registers it there.

    That spares each stretch of a task a call. Not where there are task loops (since Airflow 3.4): the API server gives
    a link the task instance's key alone, and the key does not name the iteration.
    """

    # Airflow compares their modules and names each time it reads a DAG. An operator that could not be imported there
    # would keep it from reading any.
    operators = [type(name, (), {"__module__": module}) for module, name in _SERVED]


def written_links(operator_class: type[BaseOperator]) -> tuple[KandinskyImageLink, ...]:
    """The links that a task writes itself: none if the API server makes it, which knows no subclasses of users."""
    is_served = links_are_served() and operator_class.__module__.partition(".")[0] == _PACKAGE
    return () if is_served else (KandinskyImageLink(),)


def links_are_served() -> bool:
    """Whether the API server makes the links: in Airflow 3.1 to 3.3."""
    return supports_plugin_tabs() and not supports_loops()


def stored_image_path(ti: TaskInstanceName, position: int = 0, index: int = 0) -> str:
    """The path of a stored image, for Markdown that Airflow's UI shows, such as the body of a human-in-the-loop task.
    Needs Airflow 3.1.

    The gallery sends the image to whom may read the task's XComs, if the file is below the task's ``output_path``.

    :param ti: the task instance that stored it, such as ``context["ti"]``.
    :param position: the item of a batch, or the image of a review, from 0.
    :param index: the sample, from 0.
    :return: a path without a host, as people may reach Airflow under several.
    """
    return f"{urlsplit(_base_url()).path}{_gallery_path(ti)}/{position}/{index}/file{_query(ti)}"


def _redirect_to_image(ti: TaskInstanceName) -> str:
    return f"{_base_url()}{_gallery_path(ti)}/image{_query(ti)}"


def _base_url() -> str:
    return conf.get("api", "base_url", fallback="").rstrip("/")


def _gallery_path(ti: TaskInstanceName) -> str:
    dag, run, task = (quote(part, safe="") for part in (ti.dag_id, ti.run_id, ti.task_id))
    map_index = -1 if ti.map_index is None else ti.map_index
    return f"/{GALLERY_ROUTE}/dags/{dag}/runs/{run}/tasks/{task}/{map_index}"


def _query(ti: TaskInstanceName) -> str:
    region = loop_region(ti)
    return f"?region={region}" if region else ""


def _image_url(operator: Any) -> str:
    # Imported late, because every component of Airflow imports this module.
    from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
    from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
    from airflow_provider_kandinsky.segmind.http.downloads import browser_url

    lineage = getattr(operator, "lineage", None)  # a user's own operator may have this link
    if lineage is None or not lineage.uris:
        return ""
    try:
        hosts = KandinskyHook(operator.kandinsky_conn_id).settings.all_image_hosts
        return browser_url(lineage.uris[0], hosts)
    except ImageRefusedError:
        return ""
