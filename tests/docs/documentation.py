"""The pages, and what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: The line before a block that is a file, such as "Save this as `dags/lighthouse.py`:".
FILE_NAME = re.compile(r"`([\w./-]+\.\w+)`[^`\n]*:\n\n\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :param line: where in the page it begins.
    :param file_name: the file that the text before it says it is.
    """

    page: Path
    line: int
    language: str
    text: str
    file_name: str | None = None

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCE.sub("", read(page))


@cache
def blocks_of(page: Path) -> list[Block]:
    text = read(page)
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        named = FILE_NAME.search(before)
        found.append(Block(page, before.count("\n") + 1, match[1], match[2], named and named[1]))
    return found


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in a language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]
