"""The plugin, which every component of Airflow imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
from airflow.api_fastapi.core_api.datamodels.tasks import TaskResponse
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_kandinsky.gallery.plugin import KandinskyGalleryPlugin
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor


def test_a_worker_imports_next_to_nothing_for_it() -> None:
    script = (
        "import sys, airflow.plugins_manager; before = set(sys.modules)\n"
        "import airflow_provider_kandinsky.gallery.plugin; print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "airflow_provider_kandinsky.gallery.plugin" in imported
    of_the_app = ("airflow.api_fastapi", "fastapi", "starlette", "airflow_provider_kandinsky.gallery.app", "httpx")
    assert [name for name in imported if name.startswith(of_the_app)] == []


def test_the_app_is_made_once() -> None:
    plugin = KandinskyGalleryPlugin()
    (app,) = plugin.fastapi_apps
    assert app["url_prefix"] == "/kandinsky-gallery"
    assert plugin.fastapi_apps == [app]


def test_without_tabs_there_is_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AirflowPlugin, "external_views")
    assert KandinskyGalleryPlugin().fastapi_apps == []


def test_the_tab_is_on_tasks_of_ours_where_airflow_can_tell() -> None:
    (view,) = [view for view in KandinskyGalleryPlugin.external_views if view["destination"] == "task_instance"]
    ((path, (field,)),) = view["applies_to"].items()
    assert path.removeprefix("task.") in TaskResponse.model_fields
    for operator in (KandinskyTextToImageOperator, KandinskyTextToImageBatchOperator, KandinskyJobSensor):
        assert field in operator.template_fields
