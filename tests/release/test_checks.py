"""A release that is wrong is seen to be. Each check is given one that is, made of a good one."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from . import checks
from .addresses import ROOT
from .checks import MAX_WHEEL_BYTES, Release, changelog

pytestmark = pytest.mark.xdist_group("release")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A checkout that has what the checks read, to be changed."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in ("LICENSE", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def repacked(release: Release, folder: Path, changes: dict[str, bytes | None]) -> Release:
    """The release with other contents of the files that end as named; None leaves one out."""
    folder.mkdir()
    shutil.copy(release.sdist, folder)
    with ZipFile(release.wheel) as old, ZipFile(folder / release.wheel.name, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            content: bytes | None = old.read(name)
            for ending, changed in changes.items():
                if name.endswith(ending):
                    content = changed
            if content is not None:
                new.writestr(name, content)
    return Release(release.sources, folder)


def with_readme(release: Release, folder: Path, text: str) -> Release:
    headers = "".join(f"{name}: {value}\n" for name, value in release.metadata.items() if name != "Description")
    return repacked(release, folder, {"/METADATA": f"{headers}\n{text}".encode()})


def test_an_unknown_classifier_is_seen(release: Release, sources: Path) -> None:
    pyproject = sources / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(text.replace('"Typing :: Typed"', '"Typing :: Untyped"'), encoding="utf-8")
    (complaint,) = checks.tools_find(Release(sources, release.folder))
    assert complaint.startswith("validate_pyproject")


def test_a_wheel_with_what_belongs_to_nobody_is_seen(release: Release, tmp_path: Path) -> None:
    with ZipFile(release.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        record = archive.read(name)
    bytecode = b"airflow_provider_kandinsky/forgotten.pyc,sha256=" + b"A" * 43 + b",1\n"
    broken = repacked(release, tmp_path / "made", {"/RECORD": bytecode + record})
    (complaint,) = checks.tools_find(broken)
    assert complaint.startswith("check_wheel_contents")
    assert "W001" in complaint


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("docs/money.md", "leads nowhere on an index"),
        ("http://forge.example/", "leads nowhere on an index"),
        ("{repository}/blob/v{version}/docs/nothing.md", "is no file of this version"),
        ("{repository}/blob/v0.0.0/docs/money.md", "is no file of this version"),
    ],
)
def test_a_link_that_leads_nowhere_is_seen(release: Release, tmp_path: Path, link: str, complaint: str) -> None:
    link = link.format(repository=release.urls["Repository"], version=release.version)
    complaints = checks.the_page_is_wrong(with_readme(release, tmp_path / "made", f"# It\n\n[money]({link})\n"))
    assert list(complaints) == [f"the README's link {link} {complaint}"]


@pytest.mark.parametrize(
    "link", ["#money", "https://forge.example/", "{repository}/blob/v{version}/docs/money.md#errors"]
)
def test_a_link_that_leads_somewhere_is_fine(release: Release, tmp_path: Path, link: str) -> None:
    link = link.format(repository=release.urls["Repository"], version=release.version)
    assert not list(checks.the_page_is_wrong(with_readme(release, tmp_path / "made", f"[money]({link})")))


def test_a_large_wheel_is_seen(release: Release, tmp_path: Path) -> None:
    large = repacked(release, tmp_path / "made", {"/py.typed": os.urandom(MAX_WHEEL_BYTES)})
    (complaint,) = checks.the_wheel_is_large(large)
    assert f"{MAX_WHEEL_BYTES:,}" in complaint


def test_a_missing_licence_is_seen(release: Release, sources: Path, tmp_path: Path) -> None:
    without = repacked(release, tmp_path / "made", {"/LICENSE": None})
    with tarfile.open(without.sdist, "w:gz") as archive:
        archive.add(ROOT / "README.md", "airflow_provider_kandinsky-0.1.0/README.md")
    assert len(list(checks.the_licence_is_missing(without))) == 2
    (sources / "LICENSE").write_text("All yours.")
    assert len(list(checks.the_licence_is_missing(Release(sources, release.folder)))) == 2


@pytest.mark.parametrize("text", ["# Changelog\n", "## [9.9.9] - 2026-01-01\n\n## [0.1.0] - 2025-01-01\n"])
def test_a_changelog_without_the_version_is_seen(release: Release, sources: Path, text: str) -> None:
    (sources / "CHANGELOG.md").write_text(text, encoding="utf-8")
    assert list(checks.the_changelog_is_silent(Release(sources, release.folder)))


def test_the_provider_names_all_versions_of_the_changelog() -> None:
    """The registries of Airflow's providers read them there."""
    from airflow_provider_kandinsky import get_provider_info

    assert get_provider_info()["versions"] == list(changelog(ROOT))
