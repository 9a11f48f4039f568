"""Many entries of the index in one file, so that a large batch reads them with one call.

It stands beside the entry of its smallest key, so that whoever wants the same finds it. Each of its lines has a key,
size and ETag of the entry as that is by itself, and what that says. The line counts as long as the entry has both.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from airflow_provider_kandinsky.results.file_states import FileState
from airflow_provider_kandinsky.results.reuse_entry import NO_ENTRY, StoredRequest, read_entry

log = logging.getLogger(__name__)

#: What lies beyond is not read; it is some 200 000 entries.
_MAX_BYTES: Final = 64 * 2**20


def read_pack(fs: Any, path: str, states: Mapping[str, FileState], folder: str) -> dict[str, StoredRequest]:
    """The entries that are as they were when the pack was written, by key.

    :param fs: the file system of fsspec.
    :param states: of the entries that exist, by key.
    :param folder: see :func:`~.reuse_entry.read_entry`.
    """
    try:
        content = fs.cat_file(path, start=0, end=_MAX_BYTES)
    except FileNotFoundError:
        return {}
    found: dict[str, StoredRequest] = {}
    mangled = 0
    for line in io.BytesIO(content):
        try:
            key, size, etag, entry = json.loads(line)
            if etag is not None and states.get(key) == (size, etag):
                found[key] = read_entry(entry, folder)
        except NO_ENTRY:
            mangled += 1
    if mangled:
        log.warning("Not read: %d lines of %s are no entries of the index; reading them one by one", mangled, path)
    return found


def write_pack(fs: Any, path: str, entries: Mapping[str, StoredRequest], states: Mapping[str, FileState]) -> None:
    """Write entries as they are by themselves.

    :param states: of the entries, from before they were read.
    """
    lines = (json.dumps([key, *states[key], stored.to_entry()]) for key, stored in entries.items())
    fs.pipe_file(path, "\n".join(lines).encode())
