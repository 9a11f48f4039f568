"""What is asked of a release before an index gets it. Each check gives what is wrong, and none needs a network."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path
from zipfile import ZipFile

from readme_renderer import markdown

#: All of it is code; an image, a test, or the comments that hatch_build.py leaves out would show.
MAX_WHEEL_BYTES = 300_000


@dataclass(frozen=True)
class Release:
    """The files for an index.

    :param sources: the checkout that they were built from.
    :param folder: where the wheel and the sdist are.
    """

    sources: Path
    folder: Path

    @cached_property
    def wheel(self) -> Path:
        (wheel,) = self.folder.glob("*.whl")
        return wheel

    @cached_property
    def sdist(self) -> Path:
        (sdist,) = self.folder.glob("*.tar.gz")
        return sdist

    @cached_property
    def metadata(self) -> Message:
        with ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return HeaderParser().parsestr(archive.read(name).decode())

    @property
    def version(self) -> str:
        return str(self.metadata["Version"])

    @property
    def urls(self) -> dict[str, str]:
        return dict(each.split(", ", 1) for each in self.metadata.get_all("Project-URL") or ())

    @property
    def description(self) -> str:
        return str(self.metadata.get_payload())


def wrong(release: Release) -> list[str]:
    """All that is wrong with a release."""
    return [complaint for check in CHECKS for complaint in check(release)]


def tools_find(release: Release) -> Iterator[str]:
    """What the tools of the trade find."""
    for command in (
        ("twine", "check", "--strict", release.wheel, release.sdist),
        ("check_wheel_contents", release.wheel),
        ("validate_pyproject", release.sources / "pyproject.toml"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=release.sources, capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield f"{command[0]}: {done.stdout.strip()} {done.stderr.strip()}"


def the_page_is_wrong(release: Release) -> Iterator[str]:
    """What a reader of the index's page would not see, or could not follow."""
    page = markdown.render(release.description)
    if page is None:
        yield "the README cannot be rendered"
        return
    repository = release.urls["Repository"]
    file = re.compile(rf"{re.escape(repository)}/(?:blob|raw|tree)/v{re.escape(release.version)}/([^#]+)(?:#.*)?")
    for link in re.findall(r'(?:href|src)="([^"]*)"', page):
        if not link.startswith(("https://", "#")):
            yield f"the README's link {link} leads nowhere on an index"
        elif link.startswith(f"{repository}/"):
            path = file.fullmatch(link)
            if not path or not (release.sources / path[1]).exists():
                yield f"the README's link {link} is no file of this version"


def the_wheel_is_large(release: Release) -> Iterator[str]:
    size = release.wheel.stat().st_size
    if size >= MAX_WHEEL_BYTES:
        yield f"{release.wheel.name} has {size:,} bytes, and may have {MAX_WHEEL_BYTES:,}"


def the_licence_is_missing(release: Release) -> Iterator[str]:
    licence = (release.sources / "LICENSE").read_bytes()
    with ZipFile(release.wheel) as archive:
        texts = [archive.read(name) for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    if texts != [licence]:
        yield f"{release.wheel.name} has not the licence"
    with tarfile.open(release.sdist) as archive:
        names = [name for name in archive.getnames() if re.fullmatch(r"[^/]+/LICENSE", name)]
        texts = [file.read() for name in names if (file := archive.extractfile(name))]
    if texts != [licence]:
        yield f"{release.sdist.name} has not the licence"


def the_changelog_is_silent(release: Release) -> Iterator[str]:
    headings = changelog(release.sources)
    if next(iter(headings), None) != release.version:
        yield f"CHANGELOG.md does not begin with {release.version}"


def changelog(sources: Path) -> dict[str, str]:
    """The versions, the newest first, each with its date or ``Unreleased``."""
    text = (sources / "CHANGELOG.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## \[([^\]]+)\] - (\S+)$", text, re.MULTILINE))


CHECKS: tuple[Callable[[Release], Iterator[str]], ...] = (
    tools_find,
    the_page_is_wrong,
    the_wheel_is_large,
    the_licence_is_missing,
    the_changelog_is_silent,
)
