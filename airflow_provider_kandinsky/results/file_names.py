"""Safe file names from untrusted text, and checks of the paths made of them."""

from __future__ import annotations

import hashlib
import posixpath
import string
from typing import Final

#: Characters that are kept in file names.
_SAFE: Final = frozenset(string.ascii_letters + string.digits + "._-")
#: Maximum length of an encoded text. File systems allow 255, with the rest of the name and a temporary suffix.
_MAX_LENGTH: Final = 200


def file_name(text: str) -> str:
    """Encode an untrusted text as part of a file name. Two texts never give the same name.

    :param text: of any characters and any length.
    :return: at most 200 characters. All but ``A-Z``, ``a-z``, ``0-9``, ``.``, ``_`` and ``-`` is written ``=XX``, the
        hexadecimal digits of its UTF-8 bytes, and so are dots if there is nothing else. A longer name is cut and ends
        in a digest.
    """
    whole = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if chr(byte) in _SAFE else f"={byte:02X}" for byte in whole)
    if not name.strip("."):
        name = name.replace(".", "=2E") or "="
    if len(name) > _MAX_LENGTH:
        name = f"{name[: _MAX_LENGTH - 34]}=={hashlib.sha256(whole).hexdigest()[:32]}"
    return name


def fixed_part(template: str) -> str:
    """The part of a template before its first placeholder; all of it if there is none.

    :raises ValueError: unbalanced braces.
    """
    fixed = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        fixed += literal
        if name is not None:
            break
    return fixed


def location(uri: str) -> str:
    """A URI as other tools read it: without the connection id that Airflow has before the ``@``."""
    scheme, separator, rest = uri.partition("://")
    netloc, slash, path = rest.partition("/")
    return f"{scheme}{separator}{netloc.rpartition('@')[2]}{slash}{path}"


def is_below(path: str, start: str) -> bool:
    """Whether a path is inside the folder of another, with and without ``..`` resolved."""
    folder = start[: start.rfind("/") + 1].rpartition("://")[2]
    normalized = posixpath.normpath(path.rpartition("://")[2])
    if not folder:
        return not normalized.startswith(("/", "../")) and normalized not in (".", "..")
    return normalized.startswith(posixpath.normpath(folder).rstrip("/") + "/")
