"""Files in the user's own storage, read in the API server: images to show, and the manifests of large batches.

Which ones may be read is decided in :mod:`.places`. Nothing leaves this module but images, told by their content, and
from a manifest nothing but the rows of a batch: what is no image, too large, or no plain file (a device, a pipe) is
refused before it is read to the end.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_provider_kandinsky.gallery.coerce import MOST_ITEMS, mapping, parse, texts
from airflow_provider_kandinsky.gallery.places import FileNotShownError, OutputPlace
from airflow_provider_kandinsky.gallery.records import TaskRecord
from airflow_provider_kandinsky.segmind.constants import LARGEST_IMAGE
from airflow_provider_kandinsky.segmind.wire.images import image_extension

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it is not typed

log = logging.getLogger(__name__)

#: Of a manifest so many bytes are read, and rows that are longer than this are left out.
_LARGEST_MANIFEST: Final = 32 * 2**20
_LONGEST_ROW: Final = 2**16
#: More fields than a row has.
_MOST_FIELDS: Final = 50
_ENOUGH_TO_TELL: Final = 16
_CHUNK: Final = 2**18
#: What storages tell of a file that changes with its content.
_VERSIONS: Final = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created", "ino")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image, opened.

    :param extension: see :func:`~airflow_provider_kandinsky.segmind.wire.images.image_extension`.
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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there.

    :param size: in bytes.
    :param tag: an entity tag, another one once the file has changed; ``None`` if the storage does not tell.
    """

    size: int
    tag: str | None
    _fs: AbstractFileSystem = field(repr=False)
    _path: str

    def open(self) -> IO[bytes]:
        """Open it. Blocks."""
        # By the file system and not by a path object, which would note each read as the lineage of a task.
        file: IO[bytes] = _in_storage(self._fs.open, self._path, "rb")
        return file

    def open_image(self) -> StoredImage:
        """Open it as an image. Blocks.

        :raises FileNotShownError: it is something else, or too large.
        """
        if self.size > LARGEST_IMAGE:
            raise FileNotShownError(f"it is larger than {LARGEST_IMAGE // 2**20} MB")
        file = self.open()
        try:
            head = _in_storage(file.read, _ENOUGH_TO_TELL)
        except FileNotShownError:
            file.close()
            raise
        extension = image_extension(head)
        if extension is None:
            file.close()
            raise FileNotShownError("it is not an image")
        return StoredImage(extension, self.size, head, file)


def find_image(uri: str, place: OutputPlace | None) -> StoredFile:
    """Find a stored image. Blocks.

    :param place: where the task instance stores its files; ``None`` if that is not known, or nothing may be read.
    :raises FileNotShownError: there is no such file, or it may not be read.
    """
    if place is None:
        raise FileNotShownError("the task has no rendered output_path, or gallery_serves_files is off")
    return _stat(*_in_storage(place.locate_image, uri))


def read_manifest(record: TaskRecord, uri: str) -> Sequence[Mapping[str, Any] | None] | None:
    """Read the first rows of a batch's manifest. Blocks.

    :return: at most :data:`~.shapes.MOST_ITEMS` rows, ``None`` in the place of one that cannot be read; or ``None`` if
        nothing can be.
    """
    if record.place is None:
        return None
    try:
        file = _stat(*_in_storage(record.place.locate_manifest, uri))
        # By when it was written, where the storage does not tell one writing from the next.
        return _rows(file, uri, record.written_at)
    except FileNotShownError as error:
        log.warning("The manifest %r of %s [%s] is not shown: %s", uri, record.task_id, record.map_index, error)
        return None


# Remembered, because each stored image of a page is found in it again.
@lru_cache(maxsize=2)
def _rows(file: StoredFile, uri: str, written_at: object) -> tuple[Mapping[str, Any] | None, ...]:
    with file.open() as content:
        data = _in_storage(content.read, _LARGEST_MANIFEST)
    lines = data.split(b"\n", MOST_ITEMS)[:MOST_ITEMS]
    if len(data) < file.size and len(lines) < MOST_ITEMS:
        del lines[-1:]  # it is cut off
    rows = [_row(line) for line in lines if line]
    if not any(row is not None for row in rows):
        raise FileNotShownError("it is not a manifest")
    return tuple(rows)


def _row(line: bytes) -> Mapping[str, Any] | None:
    """A row, with nothing in it but what may be shown: what else there is would be kept in memory."""
    if len(line) > _LONGEST_ROW:
        return None
    try:
        row = parse(line)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    return {
        **_scalars(row),
        "urls": texts(row.get("urls")),
        "error": _scalars(mapping(row.get("error"))),
        "arguments": _scalars(mapping(row.get("arguments"))),
    }


def _scalars(values: Mapping[str, Any]) -> Mapping[str, Any]:
    first = islice(values.items(), _MOST_FIELDS)
    return {name: value for name, value in first if isinstance(value, (str, int, float))}


def _stat(fs: AbstractFileSystem, path: str) -> StoredFile:
    info = _in_storage(fs.info, path)
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int):
        raise FileNotShownError("it is not a file")
    versions = [str(info[name]) for name in _VERSIONS if info.get(name) is not None]
    told = json.dumps([fs.protocol, path, size, *versions])
    return StoredFile(size, f'"{hashlib.sha256(told.encode()).hexdigest()}"' if versions else None, fs, path)


def _in_storage(work: Any, *arguments: Any) -> Any:
    """Do what may fail in as many ways as there are storages."""
    try:
        return work(*arguments)
    except FileNotShownError:
        raise
    except Exception as error:
        raise FileNotShownError(f"the API server cannot read it ({type(error).__name__}: {error!s:.200})") from error
