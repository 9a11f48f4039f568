"""A task instance's ledger where ``ledger_path`` says: in object storage, one small JSON file for each value."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from airflow.sdk import Context, ObjectStoragePath

from airflow_provider_kandinsky.compat.airflow import AirflowException
from airflow_provider_kandinsky.durable.errors import LedgerError, unreadable
from airflow_provider_kandinsky.results.file_names import file_name
from airflow_provider_kandinsky.results.storage import WITHOUT_FOLDERS
from airflow_provider_kandinsky.segmind.errors import ConfigurationError

#: What a file may have in bytes. The largest value, one record with 16 images and all their URIs, has some 100 kB.
_MAX_BYTES: Final = 2**20
_LOCAL: Final = ("file", "local")


class ObjectStore:
    """The ledger of one task instance as files. Nothing is listed, cached or kept open.

    Whatever the ids of the task instance hold, its files are below ``ledger_path``, and no other's. Each file names
    the task instance, so that one that was copied, or that a file system without upper case mixes up, is not believed.

    A local file is replaced as a whole, and is on the disk before a submission is made. An object store does the same
    by itself. Elsewhere a write that was cut short leaves a file that cannot be read, which fails the task.

    :param ledger_path: an object storage URI. A local folder has to exist: one whose disk is not mounted is not an
        empty one.
    :param names: ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    :raises ConfigurationError: it is no URI, or there is no such storage.
    """

    def __init__(self, ledger_path: str, names: Mapping[str, str | int]) -> None:
        if "://" not in ledger_path:
            raise ConfigurationError(
                f"ledger_path={ledger_path!r} is no URI, such as s3://conn_id@bucket/folder. Nothing was submitted"
            )
        try:
            self._root = ObjectStoragePath(ledger_path)
            self._fs = self._root.fs
        except (ValueError, ImportError, AirflowException) as error:
            raise ConfigurationError(
                f"ledger_path={ledger_path!r} cannot be used: {error}. Nothing was submitted"
            ) from error
        self._names = dict(names)
        self._folder = "/".join([ledger_path.rstrip("/"), *(file_name(str(name)) for name in names.values())])

    @classmethod
    def of_task(cls, ledger_path: str, context: Context) -> ObjectStore:
        """That of the running task instance."""
        ti = context["ti"]
        names = ("dag_id", "run_id", "task_id", "map_index")
        return cls(ledger_path, {name: getattr(ti, name) for name in names})

    @property
    def place(self) -> str:
        """What it is called in errors."""
        return f"The ledger in {self._folder}"

    def get(self, key: str) -> Any:
        """
        :return: ``None`` if there is no such file.
        :raises LedgerError: it cannot be read, is damaged, or is another task instance's.
        """
        path = self._path(key)
        try:
            data = self._fs.cat_file(path.path, start=0, end=_MAX_BYTES + 1)
        except FileNotFoundError:
            self._check_root()
            return None
        except Exception as error:
            raise unreadable(f"The ledger at {path}", error) from error
        try:
            return _value_in(data, {**self._names, "key": key})
        except (ValueError, RecursionError) as error:
            raise LedgerError(
                f"The ledger at {path} is damaged ({error!s:.200}), so it is not known what this task has already "
                "submitted. Nothing was submitted. Check your account; once the file is deleted, a retry submits again"
            ) from error

    def set(self, key: str, value: Any) -> None:
        path = self._path(key)
        data = json.dumps({**self._names, "key": key, "value": value}).encode()
        if path.protocol in _LOCAL:
            self._check_root()
            _replace(path.path, data)
            return
        if path.protocol not in WITHOUT_FOLDERS:
            self._fs.makedirs(path.parent.path, exist_ok=True)
        self._fs.pipe_file(path.path, data)

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key).path)

    def _path(self, key: str) -> ObjectStoragePath:
        return ObjectStoragePath(f"{self._folder}/{file_name(key)}.json")

    def _check_root(self) -> None:
        """
        :raises LedgerError: there is no such folder, which does not say that nothing was submitted.
        """
        if self._root.protocol in _LOCAL and not os.path.isdir(self._root.path):
            raise LedgerError(
                f"The folder of ledger_path, {self._root}, does not exist here, so it is not known what this task has "
                "already submitted. Nothing was submitted. Create it, or mount it; a retry reads it again"
            )


def _value_in(data: bytes, names: Mapping[str, str | int]) -> Any:
    """
    :param names: what the file has to say that it is of.
    :raises ValueError: it is cut off or too large, says something else, or has no value.
    """
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    entry = json.loads(data)
    if not isinstance(entry, dict) or {name: entry.get(name) for name in names} != names:
        raise ValueError("it is not of this task instance")
    if entry.get("value") is None:
        raise ValueError("it has no value")
    return entry["value"]


def _replace(path: str, data: bytes) -> None:
    """Write a local file as a whole or not at all, and have it on the disk."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    partial = f"{folder}/.{name[:200]}.{uuid4().hex}"
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
