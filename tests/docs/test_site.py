"""The site is built without a warning, and a reader's browser asks no other host for anything."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import airflow_provider_kandinsky

from .documentation import PAGES, ROOT

LEFT_OVER = re.compile(r":(?:class|meth|func|attr|data|mod|exc|ref|param|raises|return)\b[^:]*:|``")
EXTERNAL = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?(?:src|srcset|data)\s*=\s*["']?(?:https?:)?//
    |<link\b(?![^>]*rel=["']?(?:canonical|author|license))[^>]*href\s*=\s*["']?(?:https?:)?//
    |url\(\s*["']?(?:https?:)?//
    |@import\s+["'](?:https?:)?//
    |(?:fetch|importScripts|XMLHttpRequest\(\)\.open)\(\s*["'](?:https?:)?//""",
    re.VERBOSE | re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as ``make docs`` builds it but for the place."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.xdist_group("site")
def test_every_page_is_in_the_order_of_pages(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f'href="{page.relative_to(ROOT / "docs").with_suffix(".html")}"' in front, page


@pytest.mark.xdist_group("site")
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    files = [file for ending in ("*.html", "*.css", "*.js") for file in site.rglob(ending)]
    assert len(files) > len(PAGES)
    asked = {str(file): EXTERNAL.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {file: found for file, found in asked.items() if found} == {}


def public_names() -> set[str]:
    """Every public class and function of the modules that users name."""
    package = Path(airflow_provider_kandinsky.__file__).parent
    folders = ("operators", "sensors", "decorators", "triggers")
    # The rest of the room serves these modules, and no user.
    internal = {"event", "min_lifetime", "stall_guard"}
    files = [file for folder in folders for file in (package / folder).glob("[!_]*.py") if file.stem not in internal]
    files += [package / "hooks/kandinsky.py", package / "retry_policy.py", package / "types.py"]
    files += [package / "sandbox/client.py"]
    files += [package / f"segmind/{name}.py" for name in ("http/client", "http/async_client", "schemas", "errors")]
    names = {"airflow_provider_kandinsky.sandbox.pytest_plugin.kandinsky_sandbox"}
    for file in files:
        module = ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                names.add(f"{module}.{node.name}")
    return names


@pytest.mark.xdist_group("site")
def test_all_that_is_public_is_in_the_reference(site: Path) -> None:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    reported = {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}
    assert public_names() <= reported
    assert "airflow_provider_kandinsky.retry_policy.KANDINSKY_RETRY_POLICY" in reported


@pytest.mark.xdist_group("site")
def test_no_docstring_is_shown_as_it_was_written(site: Path) -> None:
    """No role, no directive and no markup of another language is left over in the reference."""
    for page in (site / "reference").glob("*.html"):
        article = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8").partition("<article")[2])
        assert not LEFT_OVER.findall(article), page


@pytest.mark.parametrize(
    "asks",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<link rel='stylesheet' href='//fonts.example/a.css'>",
        "src: url(https://fonts.example/a.woff2)",
        '@import "https://fonts.example/a.css";',
    ],
)
def test_what_would_be_fetched_is_seen(asks: str) -> None:
    assert EXTERNAL.search(asks)
    assert not EXTERNAL.search('<a href="https://github.com">a link is followed by people</a>')


@pytest.mark.xdist_group("site")
def test_assistants_get_all_pages(site: Path) -> None:
    index, everything = (site / name for name in ("llms.txt", "llms-full.txt"))
    listed = re.findall(r"^- \[.+?\]\((\S+)\.html\): \S", index.read_text(encoding="utf-8"), re.MULTILINE)
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")): page for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(pages)
    assert index.read_text(encoding="utf-8").startswith("# airflow-provider-kandinsky ")
    text = everything.read_text(encoding="utf-8")
    assert [name for name, page in pages.items() if page.read_text(encoding="utf-8").strip() not in text] == []


@pytest.mark.xdist_group("site")
def test_the_search_needs_no_server(site: Path) -> None:
    """What it searches in is a script beside the page, which a browser loads from a disk as well."""
    page = (site / "search.html").read_text(encoding="utf-8")
    scripts = re.findall(r'<script[^>]* src="([^"]+)"', page)
    assert [script for script in scripts if not (site / script.partition("?")[0]).is_file()] == []
    assert any(script.startswith("searchindex.js") for script in scripts)


@pytest.mark.xdist_group("site")
def test_the_start_page_has_cards_and_the_gallery(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    assert front.count('<div class="card docutils container">') >= 3
    assert {"_images/gallery.png", "_images/gallery-dark.png"} <= set(re.findall(r'<img[^>]* src="([^"]+)"', front))
    assert "_static/start.css" in front
