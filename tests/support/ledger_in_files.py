"""The ledger in files, beside which a test sees and changes what is written as it does with a store in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.durable.object_store import ObjectStore

from .task_instance import FakeTaskInstance, MemoryStore

NAMES = {name: getattr(FakeTaskInstance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}


class StoreInFiles(MemoryStore):
    """Files, with their values in plain sight: what a test changes there is written before anything is read.

    :param ledger_path: where they are.
    """

    def __init__(self, ledger_path: str) -> None:
        super().__init__()
        self.files = ObjectStore(ledger_path, NAMES)
        self._written: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        for name in {*self._written, *self.values}:
            if name not in self.values:
                self.delete(name)
            elif self._written.get(name) != self.values[name]:
                self.set(name, self.values[name])
        return self.files.get(key)

    def set(self, key: str, value: Any) -> None:
        self.files.set(key, value)
        written = json.dumps(value)
        # Two, so that it shows what a test changes in the one.
        self._written[key], self.values[key] = json.loads(written), json.loads(written)

    def delete(self, key: str) -> None:
        self.files.delete(key)
        self._written.pop(key, None)
        self.values.pop(key, None)


def make_store(kind: str, request: pytest.FixtureRequest) -> MemoryStore:
    """
    :param kind: ``"task state store"``, ``"files"`` or ``"s3"``.
    """
    if kind == "s3":
        request.getfixturevalue("s3")
        return StoreInFiles("s3://moto@pictures/ledger")
    if kind == "files":
        folder: Path = request.getfixturevalue("tmp_path")
        return StoreInFiles(folder.as_uri())
    return MemoryStore()
