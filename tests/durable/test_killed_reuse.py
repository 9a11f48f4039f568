"""A worker that dies at any moment between POST, file, index and XCom submits nothing twice, and indexes nothing that
is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.task_instance import SMALL, FakeTaskInstance, MemoryStore, paint, paint_all


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Kills at the nth thing that is written."""

    def __init__(self) -> None:
        self.left = -1

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class MortalFileSystem(LocalFileSystem):
    """Local files, written by one that may die before or after each step."""

    cachable = False
    fuse = Fuse()

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" not in mode:
            self.fuse.burn()
        return super().open(path, mode, **options)

    def mv(self, *args: Any, **options: Any) -> Any:
        self.fuse.burn()
        moved = super().mv(*args, **options)
        self.fuse.burn()
        return moved

    def rm_file(self, path: str) -> None:
        self.fuse.burn()
        super().rm_file(path)


class MortalStore(MemoryStore):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse

    def set(self, key: str, value: Any) -> None:
        self.fuse.burn()
        super().set(key, value)
        self.fuse.burn()


class MortalTask(FakeTaskInstance):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse
        self.store = MortalStore(fuse)

    def xcom_push(self, key: str, value: Any) -> None:
        self.fuse.burn()
        super().xcom_push(key, value)


def check_index(folder: Path) -> int:
    entries = list(folder.glob(".kandinsky/*/*.json"))
    for entry in entries:
        known = json.loads(entry.read_text())
        paths = [Path(uri.removeprefix("file://")) for uri in known["uris"]]
        assert [path.stat().st_size for path in paths] == known["sizes"]
    return len(entries)


def one(folder: str, moment: int) -> Any:
    return paint(
        prompt=f"cat {moment}", output_path=f"{folder}/{{request_id}}-{{index}}.{{extension}}", reuse=True, **SMALL
    )


def many(folder: str, moment: int) -> Any:
    # Others each time: what is equal, and was submitted a moment ago, would be found in the history.
    prompts = [f"owl {moment}", f"dog {moment}"]
    return paint_all(prompts, output_path=f"{folder}/{{request_id}}-{{index}}.{{extension}}", reuse=True, **SMALL)


@pytest.mark.parametrize(
    ("make", "images"),
    [
        pytest.param(one, 1, id="one"),
        pytest.param(many, 2, id="batch", marks=pytest.mark.heavy),  # it writes more, so there are more moments
    ],
)
def test_killed_at_any_moment(sandbox: Sandbox, tmp_path: Path, make: Any, images: int) -> None:
    files = MortalFileSystem()
    attach("file", conn_id="mortal", fs=files)
    for moment in range(1, 200):
        folder, fuse = tmp_path / str(moment), Fuse()
        folder.mkdir()
        MortalFileSystem.fuse = fuse
        ti, before = MortalTask(fuse), len(sandbox.submissions)
        uri = f"file://mortal@{folder}"
        fuse.left = moment
        try:
            ti.run(make(uri, moment))
            was_killed = False
        except Killed:
            was_killed = True
            check_index(folder)
        fuse.left = -1
        if was_killed:
            ti.retry(after=120)  # the history is asked only when no POST can be on its way
            ti.run(make(uri, moment))
        assert len(sandbox.submissions) - before == images, f"killed at moment {moment}"
        assert check_index(folder) == images
        if not was_killed:
            break
    assert moment > 10
