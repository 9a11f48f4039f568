"""The project's addresses: ``[project.urls]`` in pyproject.toml, and the owner in .github/CODEOWNERS.

``python -m tests.release.addresses URL [--docs URL] [--owner @NAME]`` sets them; ``make release-url`` runs it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT, CODEOWNERS = "pyproject.toml", ".github/CODEOWNERS"

#: Reserved for examples, so that nobody is ever led astray.
PLACEHOLDER_HOST = "https://example.org/"
PLACEHOLDER_OWNER = "@OWNER"

REPOSITORY = re.compile(r"https://[\w.-]+(?:/[\w.-]+)*/(?P<owner>[\w.-]+)/[\w.-]+")
URL = re.compile(r'^(?P<name>Documentation|Repository|Changelog|Issues) = "(?P<url>.*)"$', re.MULTILINE)
OWNER = re.compile(r"^\* (@\S+)$", re.MULTILINE)


def set_addresses(root: Path, repository: str, docs: str = "", owner: str = "") -> None:
    """Write the addresses into the files that have them.

    :param repository: as a browser shows it, such as ``https://github.com/owner/name``.
    :param docs: where the site is; the folder in the repository if there is none.
    :param owner: who reviews, such as ``@owner/team``; the repository's owner if nobody is named.
    :raises ValueError: one of them is no such address.
    """
    repository = repository.rstrip("/").removesuffix(".git")
    parts = REPOSITORY.fullmatch(repository)
    if not parts:
        raise ValueError(f"URL has to be like https://github.com/owner/name, and is {repository!r}")
    if docs and not re.fullmatch(r"https://[^\s\"\\]+", docs):
        raise ValueError(f"DOCS has to begin with https://, and is {docs!r}")
    owner = owner or f"@{parts['owner']}"
    if not re.fullmatch(r"@[\w./-]+", owner):
        raise ValueError(f"OWNER has to be like @owner or @owner/team, and is {owner!r}")
    urls = {
        "Documentation": docs or f"{repository}/tree/HEAD/docs",
        "Repository": repository,
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
    _rewrite(root / PYPROJECT, URL, lambda match: f'{match["name"]} = "{urls[match["name"]]}"')
    _rewrite(root / CODEOWNERS, OWNER, lambda _: f"* {owner}")


def placeholders(root: Path) -> list[str]:
    """What nobody has set yet."""
    pyproject = (root / PYPROJECT).read_text(encoding="utf-8")
    owners = (root / CODEOWNERS).read_text(encoding="utf-8")
    found = [
        f"{PYPROJECT}: {match['name']} is a placeholder"
        for match in URL.finditer(pyproject)
        if match["url"].startswith(PLACEHOLDER_HOST)
    ]
    if PLACEHOLDER_OWNER in OWNER.findall(owners):
        found.append(f"{CODEOWNERS}: {PLACEHOLDER_OWNER} is a placeholder")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.release.addresses")
    parser.add_argument("url")
    parser.add_argument("--docs", default="")
    parser.add_argument("--owner", default="")
    given = parser.parse_args()
    try:
        set_addresses(ROOT, given.url, given.docs, given.owner)
    except ValueError as error:
        sys.exit(f"{error}.")


def _rewrite(file: Path, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(pattern.sub(replacement, text), encoding="utf-8")


if __name__ == "__main__":
    main()
