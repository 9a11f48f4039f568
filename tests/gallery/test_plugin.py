"""The plugin, which every component of Airflow imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_kandinsky.gallery.plugin import KandinskyGalleryPlugin


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
