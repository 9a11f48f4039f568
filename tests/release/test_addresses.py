"""One command sets all addresses, and nothing but it is needed to be rid of the placeholders."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from .addresses import (
    CODEOWNERS,
    OWNER,
    PLACEHOLDER_HOST,
    PLACEHOLDER_OWNER,
    PYPROJECT,
    ROOT,
    placeholders,
    set_addresses,
)

REPOSITORY = "https://forge.example/painters/airflow-provider-kandinsky"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that have addresses, as they were before any was set."""
    (tmp_path / CODEOWNERS).parent.mkdir()
    for name in (PYPROJECT, CODEOWNERS):
        shutil.copy(ROOT / name, tmp_path / name)
    set_addresses(tmp_path, f"{PLACEHOLDER_HOST}placeholder/name", owner=PLACEHOLDER_OWNER)
    return tmp_path


def urls(checkout: Path) -> dict[str, str]:
    return dict(tomllib.loads((checkout / PYPROJECT).read_text(encoding="utf-8"))["project"]["urls"])


def owners(checkout: Path) -> list[str]:
    return OWNER.findall((checkout / CODEOWNERS).read_text(encoding="utf-8"))


def test_placeholders_are_named_until_they_are_set(checkout: Path) -> None:
    assert len(placeholders(checkout)) == 5

    set_addresses(checkout, REPOSITORY)

    assert placeholders(checkout) == []
    assert urls(checkout) == urls(ROOT) | {
        "Documentation": f"{REPOSITORY}/tree/HEAD/docs",
        "Repository": REPOSITORY,
        "Changelog": f"{REPOSITORY}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    }
    assert owners(checkout) == ["@painters"]


def test_docs_and_owner_can_be_named(checkout: Path) -> None:
    set_addresses(checkout, f"{REPOSITORY}.git", "https://docs.example/kandinsky/", "@painters/reviewers")
    assert urls(checkout)["Documentation"] == "https://docs.example/kandinsky/"
    assert urls(checkout)["Repository"] == REPOSITORY
    assert owners(checkout) == ["@painters/reviewers"]


def test_they_can_be_set_again(checkout: Path) -> None:
    once = {name: (checkout / name).read_bytes() for name in (PYPROJECT, CODEOWNERS)}
    set_addresses(checkout, REPOSITORY)
    set_addresses(checkout, f"{PLACEHOLDER_HOST}placeholder/name", owner=PLACEHOLDER_OWNER)
    assert {name: (checkout / name).read_bytes() for name in once} == once


@pytest.mark.parametrize(
    ("url", "docs", "owner"),
    [
        ("", "", ""),
        ("http://forge.example/painters/name", "", ""),
        ("https://forge.example/painters", "", ""),
        ("git@forge.example:painters/name", "", ""),
        ('https://forge.example/painters/name"\nx = "', "", ""),
        (REPOSITORY, "docs.example", ""),
        (REPOSITORY, 'https://docs.example/"', ""),
        (REPOSITORY, "", "painters"),
    ],
)
def test_what_is_no_address_changes_nothing(checkout: Path, url: str, docs: str, owner: str) -> None:
    before = urls(checkout), owners(checkout)
    with pytest.raises(ValueError, match=r"^(URL|DOCS|OWNER) has to "):
        set_addresses(checkout, url, docs, owner)
    assert (urls(checkout), owners(checkout)) == before


def test_no_other_file_has_an_address_of_the_project() -> None:
    files = subprocess.run(
        ["git", "grep", "--files-with-matches", "--fixed-strings", urls(ROOT)["Repository"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert files.stdout.split() == [PYPROJECT]
