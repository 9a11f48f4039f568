"""Where the index cannot be read or written for a while, nothing is submitted twice, and nothing in flight is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_kandinsky.exceptions import ReuseIndexError
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.task_instance import SMALL, FakeTaskInstance, cats, paint, paint_all


class FailingFileSystem(LocalFileSystem):
    """Local files that fail where it is said."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.fails_to_remove = self.fails_to_write = False
        #: After so many reads, so many fail.
        self.reads, self.failures = 0, 0

    def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
        self.reads -= 1
        if -self.failures <= self.reads < 0:
            raise PermissionError(path)
        return super().cat_file(path, *args, **options)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if self.fails_to_write and ".json." in path:
            raise PermissionError(path)
        return super().open(path, mode, **options)

    def rm_file(self, path: str) -> None:
        if self.fails_to_remove:
            raise PermissionError(path)
        super().rm_file(path)


FILES = FailingFileSystem()


@pytest.fixture
def files() -> FailingFileSystem:
    attach("file", conn_id="failing", fs=FILES)  # once for the process, whatever is attached later
    FILES.__init__()  # type: ignore[misc]  # nothing fails at first
    return FILES


def path_in(folder: Path) -> str:
    return f"file://failing@{folder}/{{request_id}}-{{index}}.{{extension}}"


def test_what_is_in_flight_is_waited_for(
    sandbox: Sandbox, ti: FakeTaskInstance, files: FailingFileSystem, tmp_path: Path
) -> None:
    # All 40 are searched for, then the first 20 before their claims and after them; the next 20 cannot be.
    files.reads, files.failures = 80, 20
    rows = ti.run(paint_all(cats(40), output_path=path_in(tmp_path), reuse=True, **SMALL))
    assert files.reads < -files.failures
    assert len(sandbox.submissions) == 40
    assert not any(row["error"] for row in rows)


def test_where_it_stays_the_try_fails_and_the_next_goes_on(
    sandbox: Sandbox, ti: FakeTaskInstance, files: FailingFileSystem, tmp_path: Path
) -> None:
    files.reads, files.failures = 80, 10_000
    with pytest.raises(ReuseIndexError, match=r"could not be read or written .* \[billed: no\] Nothing is in flight"):
        ti.run(paint_all(cats(40), output_path=path_in(tmp_path), reuse=True, **SMALL))
    assert len(sandbox.submissions) == 20
    files.failures = 0
    ti.retry()
    ti.run(paint_all(cats(40), output_path=path_in(tmp_path), reuse=True, **SMALL))
    assert len(sandbox.submissions) == 40
    assert ti.pushed["counts"]["succeeded"] == 40


@pytest.mark.parametrize("make", [paint, lambda prompt, **arguments: paint_all([prompt], **arguments)])
def test_a_claim_that_cannot_be_given_back_masks_no_error(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    files: FailingFileSystem,
    tmp_path: Path,
    make: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files.fails_to_remove = True
    sandbox.fault("submit", status=401)
    with pytest.raises(Exception, match="rejected the API key"):
        ti.run(make(prompt="a cat", output_path=path_in(tmp_path), reuse=True, **SMALL))
    assert "could not be given back" in caplog.text


def test_a_retry_indexes_what_could_only_be_stored(
    sandbox: Sandbox, ti: FakeTaskInstance, files: FailingFileSystem, tmp_path: Path
) -> None:
    files.fails_to_write = True
    with pytest.raises(ReuseIndexError, match=r"The images are stored.*billed: yes.*A retry indexes them"):
        ti.run(paint(output_path=path_in(tmp_path), reuse=True, **SMALL))
    files.fails_to_write = False
    ti.retry()
    ti.run(paint(output_path=path_in(tmp_path), reuse=True, **SMALL))
    assert len(sandbox.submissions) == 1
    assert not list(tmp_path.glob(".kandinsky/*/*.claim*"))
