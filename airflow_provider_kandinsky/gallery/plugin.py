"""Airflow plugin: two tabs, the app that serves them, a link, and a listener.

Every component of Airflow imports this module, but only the API server uses the app. So the app is imported when the
API server asks for it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_kandinsky.compat import preload
from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs
from airflow_provider_kandinsky.links.kandinsky import (
    GALLERY_ROUTE,
    RUN_GALLERY_ROUTE,
    ServedImageLink,
    links_are_served,
)

#: Since Airflow 3.4 the tab is limited to tasks with this templated field; older releases ignore this.
_APPLIES_TO: Final = {"task.template_fields": ["kandinsky_conn_id"]}
_RUN: Final = f"{GALLERY_ROUTE}/open/dags/{{DAG_ID}}/runs/{{RUN_ID}}"


def _tab(destination: str, url_route: str, href: str) -> dict[str, Any]:
    # Relative, as Airflow may be mounted below a path: the UI resolves it against its base URL.
    return {"name": "Pictures", "destination": destination, "url_route": url_route, "href": href}


class KandinskyGalleryPlugin(AirflowPlugin):
    """A tab "Pictures" on task instances and DAG runs, and a link "Image" on task instances."""

    name = "kandinsky_gallery"
    listeners = [preload]
    operator_extra_links = [ServedImageLink()] if links_are_served() else []
    external_views = [
        _tab("task_instance", GALLERY_ROUTE, f"{_RUN}/tasks/{{TASK_ID}}/{{MAP_INDEX}}") | {"applies_to": _APPLIES_TO},
        _tab("dag_run", RUN_GALLERY_ROUTE, _RUN),
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # Airflow's is a plain attribute
        """The app; none in Airflow 3.0, whose UI has no plugin tabs."""
        if not supports_plugin_tabs():
            return []
        from airflow_provider_kandinsky.gallery.app import create_app

        return [{"name": "Kandinsky gallery", "url_prefix": f"/{GALLERY_ROUTE}", "app": create_app()}]
