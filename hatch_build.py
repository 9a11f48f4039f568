"""The README as an index shows it: its links lead to the repository, at the version that was released."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: The end of a link, or a whole image, with a path in the repository; code is left as it is.
PATH = re.compile(
    r"(?P<code>^```.*?^```$)|(?P<before>!\[[^\]]*\]|\])\((?!https?:|mailto:|#)(?P<path>[^)\s]+)\)", re.M | re.S
)


class Readme(MetadataHookInterface):
    """Make the long description; in a checkout the README's own relative links work."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository, tag = metadata["urls"]["Repository"], f"v{metadata['version']}"

        def absolute(match: re.Match[str]) -> str:
            if match["code"]:
                return match[0]
            kind = "blob"
            if match["before"].startswith("!"):
                kind = "raw"
            elif Path(self.root, match["path"]).is_dir():
                kind = "tree"
            return f"{match['before']}({repository}/{kind}/{tag}/{match['path']})"

        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": PATH.sub(absolute, text)}
