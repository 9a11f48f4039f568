"""The release: what is in it, and that it works where nothing else is."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import uv
from packaging.utils import canonicalize_name

import airflow_provider_kandinsky

from . import licences
from .addresses import ROOT
from .checks import Release, wrong
from .conftest import Installation
from .environment import list_components

pytestmark = pytest.mark.xdist_group("release")

PACKAGE = "airflow_provider_kandinsky"
# Artistic or GPL, as one likes; Airflow itself brings it.
KNOWN_COPYLEFT = {"text-unidecode"}


def packages(*command: str | Path, given: str = "") -> set[str]:
    """The names of the distributions that a command of ``uv pip`` lists."""
    done = subprocess.run([uv.find_uv_bin(), "pip", *command], input=given, capture_output=True, text=True, check=True)
    return {canonicalize_name(re.split("[ =]", line)[0]) for line in done.stdout.splitlines() if line[0].isalpha()}


def test_an_index_takes_it(release: Release) -> None:
    assert wrong(release) == []


def test_every_file_of_the_package_is_in_the_wheel(release: Release) -> None:
    on_disk = {
        str(file.relative_to(ROOT))
        for file in (ROOT / PACKAGE).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with ZipFile(release.wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        others = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    assert packed == on_disk
    assert f"{PACKAGE}/py.typed" in packed
    assert others == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def code_of(source: str) -> list[tuple[int, str]]:
    """The line and the kind of each piece of code, and what it is, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_left_out = ast.get_docstring(node) is not None or isinstance(next(iter(node.body), None), ast.Pass)
            node.body = [ast.Pass(), *node.body[is_left_out:]]
    return [(getattr(node, "lineno", 0), ast.dump(node)) for node in ast.walk(tree)]


def test_the_wheel_has_the_same_code_in_the_same_lines(release: Release) -> None:
    with ZipFile(release.wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        shipped = {name: archive.read(name).decode() for name in names}
    sources = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    assert len(names) > 100
    assert [name for name in names if code_of(shipped[name]) != code_of(sources[name])] == []
    assert [name for name in names if re.search(r"^\s*#", shipped[name], re.MULTILINE)] == []


def shown_in_the_reference() -> Iterator[Any]:
    """The classes and functions of docs/reference, and the public methods of the classes."""
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        for name in re.findall(r"^\.\. auto\w+:: ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            found = pkgutil.resolve_name(name)
            for key, each in vars(found).items() if inspect.ismodule(found) else [("", found)]:
                # As Sphinx does, without what a module imports.
                if each is found or (not key.startswith("_") and getattr(each, "__module__", None) == name):
                    yield each
                    if inspect.isclass(each):
                        yield from (member for attribute, member in vars(each).items() if not attribute.startswith("_"))


def test_the_wheel_has_the_docstrings_of_the_reference(release: Release) -> None:
    shown = [
        each
        for each in shown_in_the_reference()
        if (inspect.isclass(each) or inspect.isfunction(each)) and each.__doc__
    ]
    assert len(shown) > 100
    with ZipFile(release.wheel) as archive:
        for each in shown:
            shipped = archive.read(each.__module__.replace(".", "/") + ".py").decode()
            # Python 3.13 dedents them.
            assert " ".join(each.__doc__.split()) in " ".join(shipped.split()), each


def test_the_metadata_say_what_it_is(release: Release) -> None:
    metadata = release.metadata
    assert metadata["Name"] == "airflow-provider-kandinsky"
    assert metadata["Version"] == airflow_provider_kandinsky.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"Framework :: Apache Airflow :: Provider", "Typing :: Typed"} <= set(metadata.get_all("Classifier") or ())
    assert metadata["Author"]
    assert {"Documentation", "Repository", "Changelog", "Issues"} <= set(release.urls)
    assert all(url.startswith("https://") for url in release.urls.values())


def test_the_readme_is_the_same_but_for_its_links(release: Release) -> None:
    ours = (ROOT / "README.md").read_text(encoding="utf-8")
    base = rf"{re.escape(release.urls['Repository'])}/(blob|raw|tree)/v{release.version}/"
    assert re.sub(base, "", release.description).strip() == ours.strip()
    assert len(re.findall(base, release.description)) > 10


def test_what_it_was_tested_with_is_listed(installation: Installation, tmp_path: Path) -> None:
    listings = tmp_path / "one.json", tmp_path / "two.json"
    for listing in listings:
        list_components(
            installation.environment, ROOT / "pyproject.toml", airflow_provider_kandinsky.__version__, listing
        )
    text = listings[0].read_text(encoding="utf-8")
    assert text == listings[1].read_text(encoding="utf-8")
    assert str(installation.environment) not in text
    listed = json.loads(text)
    ours = listed["metadata"]["component"]
    assert (ours["name"], ours["version"]) == ("airflow-provider-kandinsky", airflow_provider_kandinsky.__version__)
    names = {canonicalize_name(each["name"]) for each in listed["components"]}
    environment = ["--python", installation.environment / "bin" / "python"]
    assert names == packages("freeze", *environment) - {"airflow-provider-kandinsky"}


def test_an_airflow_gets_nothing_with_it_but_the_limiter(installation: Installation) -> None:
    """So what the sandbox paints and serves with is not there, unless Airflow has it for itself."""
    environment = ["--python", installation.environment / "bin" / "python"]
    pins = ["--constraint", ROOT / "constraints.txt"]
    alone = packages("compile", *environment, *pins, "--no-annotate", "-", given="apache-airflow")
    installed = packages("freeze", *environment)
    assert installed - alone == {"airflow-provider-kandinsky", "aiolimiter"}


def test_airflow_works_with_it_alone(installation: Installation) -> None:
    for command in (("version",), ("providers", "list"), ("providers", "hooks"), ("plugins",)):
        done = installation.run("airflow", *command)
        assert "kandinsky" not in done.stderr, "Airflow has something to say about the provider"
    assert "airflow-provider-kandinsky" in installation.run("airflow", "providers", "list").stdout


def test_every_module_but_the_sandbox_imports_with_it_alone(installation: Installation) -> None:
    script = f"""
import pkgutil, importlib, {PACKAGE}
names = [each.name for each in pkgutil.walk_packages({PACKAGE}.__path__, "{PACKAGE}.", onerror=None)]
names = [name for name in names if not name.startswith("{PACKAGE}.sandbox.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    assert int(installation.run("python", "-c", script).stdout.split()[-1]) > 50


def test_no_licence_is_a_surprise(installation: Installation) -> None:
    found = json.loads(installation.run("python", Path(licences.__file__), "--json").stdout)
    assert found["airflow-provider-kandinsky"] == "Apache-2.0"
    surprises = {name: licence for name, licence in found.items() if licences.is_copyleft(licence)}
    assert set(surprises) == KNOWN_COPYLEFT, surprises


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", False),
        ("LGPL-3.0-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("GNU Affero General Public License v3", True),
        ("GPL-3.0-only", True),
        ("GPL-2.0-or-later OR MIT", False),
    ],
)
def test_copyleft_is_told_from_what_is_not(licence: str, expected: bool) -> None:
    assert licences.is_copyleft(licence) == expected
