"""Where a task instance stores its files, and which of them may be read for the gallery.

The URIs come out of XComs, and whoever may write XComs can write any there, such as ``file:///etc/passwd`` or one with
a storage connection that only others use. The API server would read them with its own rights. So a file is read only
if it lies where the task instance itself stores its images: below the fixed part of its rendered ``output_path``,
which Airflow's workers write and its REST API does not, with the same scheme and the same connection.
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
#: What the names of manifests begin with.
_MANIFEST: Final = "manifest_"


class FileNotShownError(Exception):
    """A stored file is not sent. Why is for the API server's log, never for an answer: it tells what exists."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where a task instance stores its files.

    :param folder: the URI of the innermost folder that they have in common.
    :param head: what the names of the images in it begin with.
    """

    folder: str
    head: str

    @classmethod
    def of(cls, output_path: object) -> Self | None:
        """The fixed part of a rendered ``output_path``.

        :return: ``None`` if it is none.
        """
        if not isinstance(output_path, str) or not output_path:
            return None
        try:
            fixed = fixed_part(output_path)
            has_placeholder = any(name is not None for _, name, _, _ in string.Formatter().parse(output_path))
        except ValueError:
            return None
        if not has_placeholder:
            # Then it is a folder.
            return cls(output_path.rstrip("/"), "")
        folder, slash, head = fixed.rpartition("/")
        return cls(folder, head) if slash else None

    def locate_image(self, uri: str) -> tuple[AbstractFileSystem, str]:
        """The file system and the path there of an image.

        :raises FileNotShownError: it does not lie where this task instance stores its images.
        """
        return _locate(uri, self.folder, self.head)

    def locate_manifest(self, uri: str) -> tuple[AbstractFileSystem, str]:
        """The same of a manifest."""
        return _locate(uri, self.folder, _MANIFEST)


@dataclass(frozen=True, slots=True)
class _Location:
    """A URI, taken apart.

    :param path: with the bucket, if there is one.
    """

    scheme: str
    conn_id: str
    path: str

    @classmethod
    def of(cls, uri: str) -> Self:
        # A path object would look up the connection at once, so this has to do without.
        if not uri.isprintable() or "::" in uri or "\\" in uri:
            # Control characters are dropped on the way to a storage, and "::" chains it to another one.
            raise FileNotShownError("its URI has characters that no stored file's has")
        try:
            parsed = urlsplit(uri)
        except ValueError as error:
            raise FileNotShownError(f"its URI is none: {error}") from None
        conn_id, _, host = parsed.netloc.rpartition("@")
        path = uri.partition(":")[2] if parsed.scheme else uri
        path = path.removeprefix("//").removeprefix(f"{conn_id}@" if conn_id else "")
        if parsed.scheme in _LOCAL:
            if host or not path.startswith("/"):
                raise FileNotShownError("its path is not absolute")
            return cls("file", conn_id, path)
        return cls(parsed.scheme, conn_id, path.lstrip("/"))


def _locate(uri: str, folder: str, head: str) -> tuple[AbstractFileSystem, str]:
    wanted, root = _Location.of(uri), _Location.of(folder)
    if (wanted.scheme, wanted.conn_id) != (root.scheme, root.conn_id):
        raise FileNotShownError("it is in another storage, or behind another connection, than the task's output_path")
    if wanted.scheme == "file":
        # As the disk has it: symbolic links and ".." lead where they lead.
        path, below = os.path.realpath(wanted.path), os.path.join(os.path.realpath(root.path), head)
    else:
        path, below = wanted.path, f"{root.path}/{head}"
        if not {".", ".."}.isdisjoint(_decode(path).split("/")):
            raise FileNotShownError("its path is not plain")
    if below == "/" or not path.startswith(below):
        raise FileNotShownError("it is not below the task's output_path")
    if wanted.scheme == "file":
        return ObjectStoragePath("file:///").fs, path
    found = ObjectStoragePath(uri)
    return found.fs, found.path


def _decode(path: str) -> str:
    """Without percent signs that mean something, however often they were put in."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path
