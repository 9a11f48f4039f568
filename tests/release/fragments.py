"""Put the entries in changes/ into the changelog: ``make changelog``, before a release."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from .addresses import ROOT

CHANGELOG = "CHANGELOG.md"
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
WIDTH = 120


def fragments(checkout: Path) -> list[Path]:
    """The entries that are not in the changelog yet."""
    return sorted(file for file in (checkout / "changes").glob("*") if file.name != "README.md")


def fold(checkout: Path) -> None:
    """Put all entries into the newest version, each after those of its kind, and remove them here.

    :raises ValueError: one has no kind or no text. Nothing is changed.
    """
    text, found = (checkout / CHANGELOG).read_text(encoding="utf-8"), fragments(checkout)
    for fragment in found:
        text = with_entry(text, kind_of(fragment), fragment.read_text(encoding="utf-8"))
    (checkout / CHANGELOG).write_text(text, encoding="utf-8")
    for fragment in found:
        fragment.unlink()


def kind_of(fragment: Path) -> str:
    """The kind that is in the name of an entry."""
    _, *kind = fragment.name.removesuffix(".md").split(".")
    if kind not in [[each] for each in KINDS] or not fragment.read_text(encoding="utf-8").strip():
        raise ValueError(f"{fragment}: it needs text, and a name like NAME.KIND.md with one of {', '.join(KINDS)}")
    return kind[0]


def with_entry(changelog: str, kind: str, entry: str) -> str:
    """The changelog with one entry more in its first version."""
    heading = f"\n### {kind.capitalize()}\n"
    before, version, below = re.split(r"(^## .+\n)", changelog, maxsplit=1, flags=re.M)
    newest, *older = re.split(r"^(?=## )", below, maxsplit=1, flags=re.M)
    if heading not in newest:
        newest = f"{newest.rstrip()}\n{heading}\n"
    above, _, rest = newest.partition(heading)
    entries, *others = re.split(r"^(?=### )", rest, maxsplit=1, flags=re.M)
    lines = textwrap.wrap(entry, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    entries = f"{entries.strip()}\n- ".lstrip() + "\n  ".join(lines)
    text = "\n".join([f"{before}{version}{above}{heading}\n{entries}\n", *others, *older])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


if __name__ == "__main__":
    try:
        fold(ROOT)
    except ValueError as error:
        sys.exit(str(error))
