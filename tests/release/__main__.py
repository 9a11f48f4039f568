"""Make a release of what is committed: ``make release`` leaves in dist/ what an index gets, checked, and an SBOM.

With ``--placeholders-allowed`` what only the release itself can fill in may be open: addresses, date and tag.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import environment
from .addresses import ROOT, placeholders
from .checks import Release, changelog, wrong
from .fragments import fragments

DIST = ROOT / "dist"
SBOM = "sbom.cdx.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.release")
    parser.add_argument("--placeholders-allowed", action="store_true", help="a dry run: nothing that may be published")
    try:
        make(parser.parse_args().placeholders_allowed)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stdout}{error.stderr}")


def make(placeholders_allowed: bool) -> None:
    """Build, check and list; dist/ is replaced only by what is a release.

    :raises SystemExit: it is none, for reasons that are named.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        sources, made = Path(temporary, "sources"), Path(temporary, "made")
        export(sources)
        build(sources, made)
        release = Release(sources, made)
        open_ends = not_filled_in(release)
        complaints = wrong(release) + ([] if placeholders_allowed else open_ends)
        if complaints:
            sys.exit("\n".join(("This is no release:", *complaints)))
        installed = Path(temporary, "environment")
        environment.install(release.wheel, sources / "constraints.txt", installed)
        environment.list_components(installed, sources / "pyproject.toml", release.version, made / SBOM)
        shutil.rmtree(DIST, ignore_errors=True)
        shutil.copytree(made, DIST)
    sys.stdout.writelines(f"{file.stat().st_size:9,} bytes  dist/{file.name}\n" for file in sorted(DIST.iterdir()))
    sys.stdout.writelines(f"Not to be published: {each}\n" for each in open_ends)


def export(sources: Path) -> None:
    """Write what is committed to a folder of its own."""
    command = ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), sources]
    subprocess.run(command, capture_output=True, text=True, check=True)


def build(sources: Path, folder: Path) -> None:
    """Build the sdist, and of it the wheel: of the same commit always the same bytes."""
    command = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, sources]
    date = {"SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct")}
    subprocess.run(command, env=os.environ | date, capture_output=True, text=True, check=True)


def not_filled_in(release: Release) -> list[str]:
    """What has to be filled in before anything is published."""
    found = placeholders(release.sources)
    if changelog(release.sources).get(release.version) == "Unreleased":
        found.append(f"CHANGELOG.md: {release.version} has no date")
    found.extend(f"changes/{each.name} is not in the changelog: make changelog" for each in fragments(release.sources))
    if f"v{release.version}" not in git("tag", "--points-at", "HEAD").split():
        found.append(f"the commit has no tag v{release.version}")
    if git("status", "--porcelain"):
        found.append("what is not committed is not in it")
    return found


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
