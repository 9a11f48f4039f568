"""The connection form, as Airflow's API server makes it for the UI: from the provider info alone, since 3.2."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE

# The fixture takes seconds, so one process makes it for all tests.
pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("connection form")]

FROM_PROVIDER_INFO = Version(airflow_version) >= Version("3.2")

HAS_FORM = Version(airflow_version) >= Version("3.1") or find_spec("flask_appbuilder") is not None
needs_form = pytest.mark.skipif(
    not HAS_FORM,
    reason="without Flask AppBuilder Airflow 3.0 has no form for any provider",
)

PROBE = """
import json, os, sys, types
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService as Service
from airflow.providers_manager import ProvidersManager
from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE, PROVIDER_INFO

# Each in a process of its own from here, but Airflow is imported once: it takes seconds.
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    metas = [meta.model_dump() for meta in Service.hook_meta_data() if meta.connection_type == "kandinsky"]
    imported = "airflow_provider_kandinsky.hooks.kandinsky" in sys.modules
    print("\\n" + json.dumps({"metas": metas, "imported": imported}), flush=True)
    os._exit(0)

if "form" not in sys.argv:
    sys.exit()
# As Airflow before 3.2 does: with a stand-in for WTForms, and knowing nothing of the two sections of the provider info.
fields = ("StringField", "BooleanField", "IntegerField", "PasswordField")
sys.modules["wtforms"] = types.SimpleNamespace(**{name: getattr(Service, f"Mock{name}") for name in fields})
sections = ("conn-fields", "ui-field-behaviour")
PROVIDER_INFO["connection-types"] = [{name: CONNECTION_TYPE[name] for name in CONNECTION_TYPE if name not in sections}]
manager = ProvidersManager()
extra = Service._convert_extra_fields(manager.connection_form_widgets)["kandinsky"]
standard = Service._make_standard_fields(manager.field_behaviours["kandinsky"]).model_dump()
print("\\n" + json.dumps({"standard_fields": standard, "extra_fields": extra}))
"""


@pytest.fixture(scope="module")
def probed() -> list[Any]:
    """What Airflow makes of the provider info, and, if it has a form, of the hook."""
    command = [sys.executable, "-c", PROBE, *["form"] * HAS_FORM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    complaints = [line for line in done.stderr.splitlines() if "kandinsky" in line and "is deprecated" not in line]
    assert not complaints, "Airflow has something to say about the provider"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def form(probed: list[Any]) -> Any:
    return probed[0]


@pytest.mark.skipif(Version(airflow_version) < Version("3.3"), reason="before 3.3 Airflow imports the hook for it")
def test_the_hook_is_not_imported_for_it(form: Any) -> None:
    assert not form["imported"]


def test_the_type_is_listed(form: Any) -> None:
    (meta,) = form["metas"]
    assert meta["hook_name"] == "Kandinsky (Segmind)"


@needs_form
def test_standard_fields_are_relabelled_or_hidden(form: Any) -> None:
    fields = form["metas"][0]["standard_fields"]
    assert fields["password"]["title"] == "API key"
    assert fields["host"]["title"] == "Base URL"
    assert fields["host"]["placeholder"] == "https://api.segmind.com"
    assert {name for name, field in fields.items() if field and field["hidden"]} == {"url_schema", "login"}


@needs_form
def test_extra_fields_have_labels_descriptions_and_types(form: Any) -> None:
    fields = form["metas"][0]["extra_fields"]
    assert set(fields) == {
        "requests_per_minute",
        "request_timeout",
        "retry_timeout",
        "history_url",
        "allow_insecure",
        "image_hosts",
        "daily_budget",
        "ledger_path",
    }
    for field in fields.values():
        assert field["schema"]["title"]
        assert field["description"]
    number = "number" if FROM_PROVIDER_INFO else "string"
    assert fields["requests_per_minute"]["schema"]["type"] == [number, "null"]
    assert fields["allow_insecure"]["schema"]["type"] == ["boolean", "null"]


@needs_form
def test_the_hook_gives_older_airflows_the_same_form(probed: list[Any]) -> None:
    from_info = probed[0]["metas"][0]
    from_hook = probed[1]
    assert from_hook["standard_fields"] == from_info["standard_fields"]
    assert list(from_hook["extra_fields"]) == list(from_info["extra_fields"])
    for name, field in from_hook["extra_fields"].items():
        same = from_info["extra_fields"][name]
        assert (field["schema"]["title"], field["description"]) == (same["schema"]["title"], same["description"])
        # A number is text there, as their form has no field for numbers with a fraction.
        assert field["schema"]["type"] == [same["schema"]["type"][0].replace("number", "string"), "null"]
    assert from_hook["extra_fields"]["allow_insecure"]["value"] is False


def test_hook_and_provider_info_give_the_type_the_same_names() -> None:
    assert KandinskyHook.conn_type == CONNECTION_TYPE["connection-type"]
    assert KandinskyHook.hook_name == CONNECTION_TYPE["hook-name"]
