"""What an index gets otherwise than it is in the repository: the README's links, and the wheel's comments."""

from __future__ import annotations

import ast
import io
import re
import tempfile
import tokenize
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

PACKAGE = "airflow_provider_kandinsky"
#: Where docstrings for users are, beside the modules that docs/reference names.
FOR_USERS = ("operators", "sensors", "segmind.http.single_calls", "segmind.request", "results.output_path")

#: Where a link, or an image, gets to a path in the repository; code is left as it is.
PATH = re.compile(
    r"(?P<code>^```.*?^```$)|(?P<before>!\[[^\]]*\]\(|\]\(|src=\")(?!https?:|mailto:|#)(?P<path>[^)\s\"]+)", re.M | re.S
)


class Readme(MetadataHookInterface):
    """Make the long description: links lead to the repository, at this version; in a checkout relative ones work."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository, tag = metadata["urls"]["Repository"], f"v{metadata['version']}"

        def absolute(match: re.Match[str]) -> str:
            if match["code"]:
                return match[0]
            kind = "blob"
            if match["before"].startswith(("!", "src")):
                kind = "raw"
            elif Path(self.root, match["path"]).is_dir():
                kind = "tree"
            return f"{match['before']}{repository}/{kind}/{tag}/{match['path']}"

        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": PATH.sub(absolute, text)}


class Wheel(BuildHookInterface):
    """Leave out of the wheel what only readers of the repository need; it would be a fourth larger with that.

    It has no comments, and docstrings only where users read them. The sdist has all.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        for_users = {f"{PACKAGE}.{name}." for name in FOR_USERS}
        for page in root.glob("docs/reference/*.rst"):
            shown = re.findall(rf"^\.\. auto\w+:: ({PACKAGE}[\w.]+)", page.read_text(encoding="utf-8"), re.M)
            for_users |= {f"{name}." for name in shown}
        self._folder = tempfile.TemporaryDirectory()
        for file in root.glob(f"{PACKAGE}/**/*.py"):
            path = file.relative_to(root)
            module = ".".join(path.with_suffix("").parts) + "."
            keep = any(name.startswith(module) or module.startswith(name) for name in for_users)
            bare = Path(self._folder.name, path)
            bare.parent.mkdir(parents=True, exist_ok=True)
            bare.write_text(without_comments(file.read_text(encoding="utf-8"), docstrings=keep), encoding="utf-8")
            build_data["force_include"][str(bare)] = str(path)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def without_comments(source: str, *, docstrings: bool) -> str:
    """The same code, in lines of the same numbers.

    :param docstrings: whether those of the module, and of its public classes and functions, stay.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = getattr(node, "name", "")
        if not ast.get_docstring(node) or (docstrings and (name == "__init__" or not name.startswith("_"))):
            continue
        if isinstance(node, ast.Module) and len(node.body) == 1:
            continue  # A room's name plate; without it these files would all be the same.
        docstring = node.body[0]
        first, last = docstring.lineno - 1, docstring.end_lineno
        only = f"{' ' * docstring.col_offset}pass" if len(node.body) == 1 else ""
        lines[first:last] = [only, *[""] * (last - first - 1)]
    return "\n".join([*lines, ""]) if lines else ""
