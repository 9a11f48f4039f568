"""An entry of the changelog waits in a file of its own, and a release has it in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from .addresses import ROOT
from .checks import changelog
from .fragments import fold, fragments, kind_of

OLD = """# Changelog

## [0.2.0] - Unreleased

### Added

- One thing.

### Fixed

- Another.

## [0.1.0] - 2026-12-01

### Added

- All of it.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(OLD, encoding="utf-8")
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("How to.\n", encoding="utf-8")
    return tmp_path


def write(checkout: Path, name: str, text: str) -> None:
    (checkout / "changes" / name).write_text(text, encoding="utf-8")


def test_each_is_put_after_those_of_its_kind(checkout: Path) -> None:
    write(checkout, "sweeps.added.md", "Sweeps over the\nhistory.\n")
    write(checkout, "late.fixed.md", f"{'A long story. ' * 12}\n")
    write(checkout, "old.removed.md", "What nobody used.\n")

    fold(checkout)

    assert (checkout / "CHANGELOG.md").read_text(encoding="utf-8") == OLD.replace(
        "- One thing.\n", "- One thing.\n- Sweeps over the history.\n"
    ).replace(
        "- Another.\n",
        f"- Another.\n- {' '.join(['A long story.'] * 8)} A long\n  story. {' '.join(['A long story.'] * 3)}\n"
        "\n### Removed\n\n- What nobody used.\n",
    )
    assert fragments(checkout) == []
    assert list(changelog(checkout)) == ["0.2.0", "0.1.0"]


def test_a_version_without_entries_gets_its_first(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [0.1.0] - Unreleased\n", encoding="utf-8")
    write(checkout, "all.added.md", "All of it.")
    fold(checkout)
    text = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text == "# Changelog\n\n## [0.1.0] - Unreleased\n\n### Added\n\n- All of it.\n"


@pytest.mark.parametrize(
    ("name", "text"), [("sweeps.md", "No kind."), ("sweeps.new.md", "Another kind."), ("sweeps.added.md", " \n")]
)
def test_one_that_has_no_place_changes_nothing(checkout: Path, name: str, text: str) -> None:
    write(checkout, "a.added.md", "A good one.")
    write(checkout, name, text)
    with pytest.raises(ValueError, match=name):
        fold(checkout)
    assert (checkout / "CHANGELOG.md").read_text(encoding="utf-8") == OLD
    assert len(fragments(checkout)) == 2


def test_those_that_wait_have_a_kind() -> None:
    assert all(kind_of(fragment) for fragment in fragments(ROOT))
