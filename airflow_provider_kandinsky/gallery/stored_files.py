"""Read images and batch manifests from the user's own storage, in the API server.

:mod:`.file_access` decides which files may be read. This module returns only images, recognised by their content, and
the rows of manifests. What is too large, not an image or not a plain file (a device, a pipe) is not read to its end.
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

from airflow_provider_kandinsky.gallery.coerce import MAX_LISTED_ITEMS, mapping, parse, texts
from airflow_provider_kandinsky.gallery.file_access import MANIFEST_PREFIX, FileNotShownError, OutputFolder
from airflow_provider_kandinsky.gallery.task_records import TaskRecord
from airflow_provider_kandinsky.segmind.constants import LARGEST_IMAGE
from airflow_provider_kandinsky.segmind.wire.images import image_extension

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it is not typed

log = logging.getLogger(__name__)

#: Bytes read of a manifest, and of one of its rows; longer rows are left out.
_MAX_MANIFEST_BYTES: Final = 32 * 2**20
_MAX_ROW_BYTES: Final = 2**16
#: Fields read of a row; the batch writes fewer.
_MAX_FIELDS: Final = 50
#: Enough to recognise an image format.
_SIGNATURE_BYTES: Final = 16
_CHUNK: Final = 2**18
#: File attributes, by storage, that change with the content.
_VERSION_FIELDS: Final = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
    "ino",
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An existing file.

    :param size: in bytes.
    :param etag: changes with the content; ``None`` if the storage has no attribute that does.
    """

    size: int
    etag: str | None
    _fs: AbstractFileSystem = field(repr=False)
    _path: str

    def open(self) -> IO[bytes]:
        """Open it. Blocks."""
        # By fsspec: ObjectStoragePath would record each read as lineage.
        file: IO[bytes] = _call_storage(self._fs.open, self._path, "rb")
        return file

    def open_image(self) -> tuple[str, Iterator[bytes]]:
        """Open it as an image. Blocks.

        :return: its extension, see :func:`~airflow_provider_kandinsky.segmind.wire.images.image_extension`, and its
            content in chunks, which close the file at their end.
        :raises FileNotShownError: it is not an image, or larger than 32 MiB.
        """
        if self.size > LARGEST_IMAGE:
            raise FileNotShownError(f"it is larger than {LARGEST_IMAGE // 2**20} MB")
        file = self.open()
        try:
            head = _call_storage(file.read, _SIGNATURE_BYTES)
        except FileNotShownError:
            file.close()
            raise
        extension = image_extension(head)
        if extension is None:
            file.close()
            raise FileNotShownError("it is not an image")
        return extension, self._chunks(head, file)

    def _chunks(self, head: bytes, file: IO[bytes]) -> Iterator[bytes]:
        """The content after its head was read; never more than its size, which the client knows."""
        with file:
            left = self.size - len(head)
            yield head
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk


def find_image(uri: str, folder: OutputFolder | None) -> StoredFile:
    """Find a stored image. Blocks.

    :param folder: where the task instance stores its files; ``None`` if unknown, or if stored files may not be read.
    :raises FileNotShownError: the file does not exist, or may not be read.
    """
    if folder is None:
        raise FileNotShownError("the task has no rendered output_path, or gallery_serves_files is off")
    return _stat(*_call_storage(folder.locate, uri, folder.prefix))


def read_manifest(record: TaskRecord, uri: str) -> Sequence[Mapping[str, Any] | None] | None:
    """Read the first rows of a batch's manifest. Blocks.

    :return: at most :data:`~.coerce.MAX_LISTED_ITEMS` rows, ``None`` for each row that cannot be read; or ``None`` if
        the manifest cannot be read.
    """
    if record.output_folder is None:
        return None
    try:
        file = _stat(*_call_storage(record.output_folder.locate, uri, MANIFEST_PREFIX))
        # The time is part of the cache key, for storages without an attribute that changes with the content.
        return _rows(file, uri, record.written_at)
    except FileNotShownError as error:
        log.warning("The manifest %r of %s [%s] is not shown: %s", uri, record.task_id, record.map_index, error)
        return None


# Cached: the request for each stored image of a page reads it again.
@lru_cache(maxsize=2)
def _rows(file: StoredFile, uri: str, written_at: object) -> tuple[Mapping[str, Any] | None, ...]:
    with file.open() as content:
        data = _call_storage(content.read, _MAX_MANIFEST_BYTES)
    lines = data.split(b"\n", MAX_LISTED_ITEMS)[:MAX_LISTED_ITEMS]
    if len(data) < file.size and len(lines) < MAX_LISTED_ITEMS:
        del lines[-1:]  # it is cut off
    rows = [_row(line) for line in lines if line]
    if not any(row is not None for row in rows):
        raise FileNotShownError("it is not a manifest")
    return tuple(rows)


def _row(line: bytes) -> Mapping[str, Any] | None:
    """A row without the fields that are not shown, as rows are kept in memory."""
    if len(line) > _MAX_ROW_BYTES:
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
    first = islice(values.items(), _MAX_FIELDS)
    return {name: value for name, value in first if isinstance(value, (str, int, float))}


def _stat(fs: AbstractFileSystem, path: str) -> StoredFile:
    info = _call_storage(fs.info, path)
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int):
        raise FileNotShownError("it is not a file")
    versions = [str(info[name]) for name in _VERSION_FIELDS if info.get(name) is not None]
    version = json.dumps([fs.protocol, path, size, *versions])
    return StoredFile(size, f'"{hashlib.sha256(version.encode()).hexdigest()}"' if versions else None, fs, path)


def _call_storage(function: Any, *arguments: Any) -> Any:
    """Call a storage; each kind raises errors of its own."""
    try:
        return function(*arguments)
    except FileNotShownError:
        raise
    except Exception as error:
        raise FileNotShownError(f"the API server cannot read it ({type(error).__name__}: {error!s:.200})") from error
