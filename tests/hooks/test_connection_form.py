"""The connection form, as Airflow's API server makes it for the UI: from the provider info alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROBE = """
import json, sys
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
metas = [meta.model_dump() for meta in HookMetaService.hook_meta_data() if meta.connection_type == "kandinsky"]
imported = "airflow_provider_kandinsky.hooks.kandinsky" in sys.modules
print("\\n" + json.dumps({"metas": metas, "imported": imported}))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert "kandinsky" not in done.stderr, "Airflow has something to say about the provider"
    return json.loads(done.stdout.splitlines()[-1])


def test_the_type_is_listed_without_importing_the_hook(told: Any) -> None:
    (meta,) = told["metas"]
    assert meta["hook_name"] == "Kandinsky (Segmind)"
    assert not told["imported"]


def test_standard_fields_are_relabelled_or_hidden(told: Any) -> None:
    fields = told["metas"][0]["standard_fields"]
    assert fields["password"]["title"] == "API key"
    assert fields["host"]["title"] == "Base URL"
    assert fields["host"]["placeholder"] == "https://api.segmind.com"
    assert {name for name, field in fields.items() if field and field["hidden"]} == {"url_schema", "port", "login"}


def test_extra_fields_have_labels_descriptions_and_types(told: Any) -> None:
    fields = told["metas"][0]["extra_fields"]
    assert set(fields) == {"requests_per_minute", "request_timeout", "history_url", "allow_insecure", "image_hosts"}
    for field in fields.values():
        assert field["schema"]["title"]
        assert field["description"]
    assert fields["requests_per_minute"]["schema"]["type"] == ["number", "null"]
    assert fields["allow_insecure"]["schema"]["type"] == ["boolean", "null"]
