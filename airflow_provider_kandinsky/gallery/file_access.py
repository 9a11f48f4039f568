"""Which stored files the gallery may read.

Their URIs come from XComs. Whoever can write XComs can write ``file:///etc/passwd`` there, or a URI with a storage
connection of others, and the API server would read it with its own rights. So a file is read only where the task
instance itself stores images: below the fixed part of its rendered ``output_path``, with the same scheme and
connection. Workers write rendered fields; the REST API cannot change them.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.results.file_names import fixed_part

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it is not typed

_LOCAL: Final = ("", "file", "local")
#: Prefix of manifests' file names.
MANIFEST_PREFIX: Final = "manifest_"


class FileNotShownError(Exception):
    """A stored file may not or cannot be read.

    The reason goes to the API server's log, and never into a response, as it reveals which files exist.
    """


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where a task instance stores its files.

    :param uri: of the innermost folder that they have in common.
    :param prefix: of the images' names in it.
    """

    uri: str
    prefix: str

    @classmethod
    def from_output_path(cls, output_path: object) -> Self | None:
        """The fixed part of a rendered ``output_path``, which is what stands before its first placeholder.

        :return: ``None`` if it is not a valid ``output_path``.
        """
        if not isinstance(output_path, str) or not output_path:
            return None
        try:
            fixed = fixed_part(output_path)
            has_placeholder = any(name is not None for _, name, _, _ in string.Formatter().parse(output_path))
        except ValueError:
            return None
        if not has_placeholder:
            # A folder.
            return cls(output_path.rstrip("/"), "")
        folder, slash, prefix = fixed.rpartition("/")
        return cls(folder, prefix) if slash else None

    def locate(self, uri: str, prefix: str) -> tuple[AbstractFileSystem, str]:
        """The file system of a file, and its path there.

        :param prefix: of its name in the folder.
        :raises FileNotShownError: it is not where this task instance stores such files.
        """
        wanted, root = _Location.parse(uri), _Location.parse(self.uri)
        if (wanted.scheme, wanted.conn_id) != (root.scheme, root.conn_id):
            raise FileNotShownError(
                "it is in another storage, or behind another connection, than the task's output_path"
            )
        if wanted.scheme == "file":
            # With symbolic links and ".." resolved.
            path, below = os.path.realpath(wanted.path), os.path.join(os.path.realpath(root.path), prefix)
        else:
            path, below = wanted.path, f"{root.path}/{prefix}"
            if not {".", ".."}.isdisjoint(_decode(path).split("/")):
                raise FileNotShownError("its path contains '.' or '..'")
        if below == "/" or not path.startswith(below):
            raise FileNotShownError("it is not below the task's output_path")
        if wanted.scheme == "file":
            return ObjectStoragePath("file:///").fs, path
        found = ObjectStoragePath(uri)
        return found.fs, found.path


@dataclass(frozen=True, slots=True)
class _Location:
    """A parsed URI.

    :param path: with the bucket, if there is one.
    """

    scheme: str
    conn_id: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        # Not by ObjectStoragePath, which would read the connection before it is known to be allowed.
        if not uri.isprintable() or "::" in uri or "\\" in uri:
            # fsspec drops control characters, and "::" chains another file system.
            raise FileNotShownError("its URI has characters that are not allowed")
        try:
            parsed = urlsplit(uri)
        except ValueError as error:
            raise FileNotShownError(f"its URI is invalid: {error}") from None
        conn_id, _, host = parsed.netloc.rpartition("@")
        path = uri.partition(":")[2] if parsed.scheme else uri
        path = path.removeprefix("//").removeprefix(f"{conn_id}@" if conn_id else "")
        if parsed.scheme in _LOCAL:
            if host or not path.startswith("/"):
                raise FileNotShownError("its path is not absolute")
            return cls("file", conn_id, path)
        return cls(parsed.scheme, conn_id, path.lstrip("/"))


def _decode(path: str) -> str:
    """Unquote a path until nothing is quoted."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path
