"""What Airflow's UI is told: two tabs, and the app that fills them.

Every component of Airflow imports this module, workers included, and only the API server has a use for the app. So
nothing of it is imported before the API server asks for it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_kandinsky.compat.airflow import supports_plugin_tabs
from airflow_provider_kandinsky.links.kandinsky import GALLERY_ROUTE, RUN_GALLERY_ROUTE

#: From Airflow 3.4 on the tab is only on tasks that have this templated field; an older Airflow ignores it.
_APPLIES_TO: Final = {"task.template_fields": ["kandinsky_conn_id"]}
_RUN: Final = f"{GALLERY_ROUTE}/open/dags/{{DAG_ID}}/runs/{{RUN_ID}}"


def _tab(destination: str, url_route: str, href: str) -> dict[str, Any]:
    # Relative, because Airflow may live below a path: the UI resolves it against its own base URL.
    return {"name": "Pictures", "destination": destination, "url_route": url_route, "href": href}


class KandinskyGalleryPlugin(AirflowPlugin):
    """A tab "Pictures" on task instances and DAG runs."""

    name = "kandinsky_gallery"
    external_views = [
        _tab("task_instance", GALLERY_ROUTE, f"{_RUN}/tasks/{{TASK_ID}}/{{MAP_INDEX}}") | {"applies_to": _APPLIES_TO},
        _tab("dag_run", RUN_GALLERY_ROUTE, _RUN),
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # Airflow's is a plain attribute
        """The app, made when Airflow asks for it; none for Airflow 3.0, whose UI has no tabs to show it in."""
        if not supports_plugin_tabs():
            return []
        from airflow_provider_kandinsky.gallery.app import create_app

        return [{"name": "Kandinsky gallery", "url_prefix": f"/{GALLERY_ROUTE}", "app": create_app()}]
