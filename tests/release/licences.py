"""The licences of what is installed beside this Python: ``python tests/release/licences.py`` prints a table.

It imports nothing that has to be installed, so that it can be run in an environment with nothing but the provider.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions

# What has to be passed on with its source, if it is passed on. The Lesser and the Mozilla one mean changed files only.
COPYLEFT = ("AGPL", "AFFERO", "GPL-2", "GPL-3", "GPLV2", "GPLV3", "GENERAL PUBLIC LICENSE", "SSPL")
LESSER = ("LGPL", "LESSER")


def licence_of(distribution: Distribution) -> str:
    """An SPDX expression where there is one, else what the classifiers say, else the first line of the free text."""
    metadata = distribution.metadata
    classifiers = [
        each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier") or () if each.startswith("License ::")
    ]
    free_text = (metadata.get("License") or "").strip().partition("\n")[0]
    return metadata.get("License-Expression") or ", ".join(classifiers) or free_text or "unknown"


def is_copyleft(licence: str) -> bool:
    """Whether a licence asks more of those who pass the software on than its name and its text."""
    # One of several is enough where there is a choice.
    return all(
        any(name in choice for name in COPYLEFT) and not any(name in choice for name in LESSER)
        for choice in licence.upper().split(" OR ")
    )


def licences() -> dict[str, str]:
    """The licence of each distribution, by name."""
    return {each.metadata["Name"]: licence_of(each) for each in distributions()}


if __name__ == "__main__":
    found = sorted(licences().items(), key=lambda item: item[0].lower())
    if sys.argv[1:] == ["--json"]:
        sys.stdout.write(json.dumps(dict(found)))
    else:
        sys.stdout.writelines(f"{name:45} {licence}\n" for name, licence in found)
