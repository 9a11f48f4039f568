"""Files in the user's own storage, read in the API server: pictures to show, and the manifests of large batches.

The URIs come out of XComs, and a DAG's author can write there what they like, such as ``file:///etc/passwd``. So
nothing leaves this module but pictures, told by their content, and from a manifest nothing but the rows of a batch:
what is no picture, too large, or no plain file (a device, a pipe) is refused before it is read to the end. Pictures
that the API server's own account can read, an author can show; whoever keeps secret ones on that machine, or behind
storage connections that DAG authors may not use, must not share it with them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import IO, Any, Final

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.segmind.downloads import LARGEST_IMAGE
from airflow_provider_kandinsky.segmind.images import image_extension

log = logging.getLogger(__name__)

_LARGEST_MANIFEST: Final = 32 * 2**20
_ENOUGH_TO_TELL: Final = 16
_CHUNK: Final = 2**18


class FileNotShownError(Exception):
    """A stored file is not there, cannot be read, or is not what it should be. The message is for the user."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture, opened.

    :param extension: see :func:`~airflow_provider_kandinsky.segmind.images.image_extension`.
    :param size: in bytes.
    """

    extension: str
    size: int
    _head: bytes
    _file: IO[bytes]

    def chunks(self) -> Iterator[bytes]:
        """The content, piece by piece, no more of it than there was at first; closes the file."""
        with self._file:
            left = self.size - len(self._head)
            yield self._head
            while left > 0 and (chunk := self._file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk


def open_picture(uri: str) -> StoredPicture:
    """Open a stored picture. Blocks.

    :raises FileNotShownError: there is none, or it is something else.
    """
    file, size = _open(uri, LARGEST_IMAGE)
    try:
        head = file.read(_ENOUGH_TO_TELL)
        extension = image_extension(head)
    except BaseException:
        file.close()
        raise
    if extension is None:
        file.close()
        raise FileNotShownError("This file is not a picture.")
    return StoredPicture(extension, size, head, file)


def read_manifest(uri: str, written_at: datetime | None) -> Sequence[Mapping[str, Any]] | str:
    """Read the rows of a batch's manifest. Blocks.

    :param written_at: tells one writing of it from the next; the latest ones are remembered.
    :return: or why it cannot be read, and where it is.
    """
    try:
        return _rows(uri, written_at)
    except FileNotShownError as error:
        return f"Their manifest is at {uri}. {error}"


@lru_cache(maxsize=4)
def _rows(uri: str, written_at: datetime | None) -> tuple[Mapping[str, Any], ...]:
    # Remembered, because each stored picture of a page is found in it again.
    file, size = _open(uri, _LARGEST_MANIFEST)
    try:
        with file:
            rows = [json.loads(line) for line in file.read(size).splitlines()]
    except ValueError:
        raise FileNotShownError("This file is not a manifest.") from None
    return tuple(row for row in rows if isinstance(row, dict))


def _open(uri: str, largest: int) -> tuple[IO[bytes], int]:
    """Open a file, and tell its size."""
    try:
        path = ObjectStoragePath(uri)
        info = path.fs.info(path.path)
    except Exception as error:  # storages fail in as many ways as there are storages
        log.warning("%s cannot be looked up: %s: %s", uri, type(error).__name__, error)
        raise FileNotShownError(f"The API server cannot find it there ({type(error).__name__}).") from error
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int):
        raise FileNotShownError("This is not a file.")
    if size > largest:
        raise FileNotShownError(f"This file is larger than {largest // 2**20} MB.")
    try:
        # By the file system and not by the path, which would note each read as the lineage of a task.
        return path.fs.open(path.path, "rb"), size
    except Exception as error:
        log.warning("%s cannot be opened: %s: %s", uri, type(error).__name__, error)
        raise FileNotShownError(f"The API server may not read it ({type(error).__name__}).") from error
