"""File names that are made of texts of others, and where they may lead."""

from __future__ import annotations

import hashlib
import posixpath
import string
from typing import Final

#: What stands in file names as it is.
_SAFE: Final = frozenset(string.ascii_letters + string.digits + "._-")
#: Characters of a text in a file's name; with the rest of the name, and while it is written, 255 are allowed.
_LONGEST_NAME: Final = 200


def file_name(text: str) -> str:
    """A text of others as a part of a file's name. Two texts never give one name.

    :param text: of any characters and any length.
    :return: at most 200 characters. All but ``A-Z``, ``a-z``, ``0-9``, ``.``, ``_`` and ``-`` is written ``=XX``, in
        the hexadecimal digits of UTF-8, and so are dots if there is nothing else. What becomes too long ends in a
        digest.
    """
    whole = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if chr(byte) in _SAFE else f"={byte:02X}" for byte in whole)
    if not name.strip("."):
        name = name.replace(".", "=2E") or "="
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 34]}=={hashlib.sha256(whole).hexdigest()[:32]}"
    return name


def fixed_part(template: str) -> str:
    """What stands before the first placeholder of a template; all of it, if there is none.

    :raises ValueError: a brace without another.
    """
    fixed = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        fixed += literal
        if name is not None:
            break
    return fixed


def is_below(path: str, start: str) -> bool:
    """Whether a path leads to somewhere in the folder of another, on file systems that know ``..`` and on others."""
    folder = start[: start.rfind("/") + 1].rpartition("://")[2]
    place = posixpath.normpath(path.rpartition("://")[2])
    if not folder:
        return not place.startswith(("/", "../")) and place not in (".", "..")
    return place.startswith(posixpath.normpath(folder).rstrip("/") + "/")
