"""The link from a task to its first image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs
from airflow_provider_kandinsky.compat.loops import loop_region

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

#: The gallery's path below Airflow's own URL, and the route of its tab on a task instance.
GALLERY_ROUTE: Final = "kandinsky-gallery"
#: The route of its tab on a DAG run: Airflow takes each route once only.
RUN_GALLERY_ROUTE: Final = "kandinsky-gallery-run"


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

    Airflow calls this in the worker when a task ends, fails or is deferred, and keeps the URL as an XCom. So that the
    URL stays right from the deferral to the end, it is one of the gallery's, which redirects to the image, or to the
    gallery's tab on the task while there is no image to show. Reads no XCom.
    """

    name = "Image"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL. Without a gallery (Airflow 3.0) it is the image's own, or empty if there is none."""
        if supports_plugin_tabs():
            return _redirect_to_image(ti_key)
        return _image_url(operator)


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
