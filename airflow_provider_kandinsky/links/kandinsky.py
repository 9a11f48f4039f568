"""The image, one click from the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from airflow_provider_kandinsky.capabilities import ui_has_plugin_tabs

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

#: Where the gallery is mounted below Airflow's own URL, and the route of its tab on a task instance.
GALLERY_ROUTE: Final = "kandinsky-gallery"
#: The route of its tab on a DAG run: Airflow takes each route once only.
RUN_GALLERY_ROUTE: Final = "kandinsky-gallery-run"


class TaskInstanceName(Protocol):
    """What names a task instance: Airflow's keys and task instances do."""

    @property
    def dag_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def map_index(self) -> int | None: ...


class KandinskyImageLink(BaseOperatorLink):
    """Leads to the first picture; while there is none with a URL that may be shown, to the gallery.

    Airflow asks for it in the worker when a task ends, fails or is deferred, and keeps the answer as an XCom; a task
    that ends in the triggerer writes that itself, see :class:`~airflow_provider_kandinsky.delivery.TriggererDelivery`.
    """

    name = "Image"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL, or the empty string where there is neither a picture nor a gallery."""
        # Imported here, because it loads the XCom backend.
        from airflow.sdk.execution_time.xcom import XCom

        returned = XCom.get_value(ti_key=ti_key, key="return_value")
        return image_link(returned, ti_key, getattr(operator, "kandinsky_conn_id", ""))


def image_link(returned: Any, ti: TaskInstanceName, kandinsky_conn_id: str) -> str:
    """Where the link of a task instance leads.

    :param returned: what the task has returned, if it has.
    :param kandinsky_conn_id: the connection, which says what hosts images may come from. It is not looked up for that:
        whoever has a URL has read it, in this process.
    :return: the first image's URL if the gallery would show it; else the gallery's.
    """
    first = returned[0] if isinstance(returned, list) and returned else None
    if isinstance(first, str) and (url := _checked(first, kandinsky_conn_id)):
        return url
    return _gallery_link(ti) if ui_has_plugin_tabs() else ""


def _checked(url: str, kandinsky_conn_id: str) -> str | None:
    # Imported here, because every component of Airflow imports this module.
    from airflow_provider_kandinsky.hooks.connection import known_image_hosts
    from airflow_provider_kandinsky.segmind.downloads import browser_url
    from airflow_provider_kandinsky.segmind.errors import ImageRefusedError

    try:
        return browser_url(url, known_image_hosts(kandinsky_conn_id))
    except ImageRefusedError:
        return None


def _gallery_link(ti: TaskInstanceName) -> str:
    dag, run, task = (quote(part, safe="") for part in (ti.dag_id, ti.run_id, ti.task_id))
    mapped = f"/mapped/{ti.map_index}" if ti.map_index not in (None, -1) else ""
    base_url = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base_url}/dags/{dag}/runs/{run}/tasks/{task}{mapped}/plugin/{GALLERY_ROUTE}"
