"""Which stored files leave the API server, on real storages."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from airflow_provider_kandinsky.gallery.cards import build_cards
from airflow_provider_kandinsky.gallery.coerce import MAX_LISTED_ITEMS
from airflow_provider_kandinsky.gallery.file_access import FileNotShownError, OutputFolder
from airflow_provider_kandinsky.gallery.items import list_items
from airflow_provider_kandinsky.gallery.pages import PageNumber, Totals
from airflow_provider_kandinsky.gallery.stored_files import find_image, read_manifest
from airflow_provider_kandinsky.gallery.task_records import TaskRecord

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def content(uri: str, output_path: object) -> bytes:
    """What the gallery sends of a stored file."""
    _, chunks = find_image(uri, OutputFolder.from_output_path(output_path)).open_image()
    return b"".join(chunks)


def error_from_status(uri: str, output_path: object) -> str:
    with pytest.raises(FileNotShownError) as refused:
        content(uri, output_path)
    return str(refused.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder ``mine`` and another beside it, with an image in each."""
    for name in ("mine", "mine-too", "mine/%2e%2e"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(PNG)
    (tmp_path / "1.png").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize(
    "output_path",
    [
        "file://{folder}/mine",
        "file://{folder}/mine/",
        "file://{folder}//mine",
        "file://{folder}/mine-too/../mine",
        "file:{folder}/mine",
        "{folder}/mine",
        "file://{folder}/mine/{{request_id}}-{{index}}.{{extension}}",
        "file://{folder}/mine/{{request_id}}/{{index}}.{{extension}}",
        "file://{folder}/m{{request_id}}.{{extension}}",
    ],
)
def test_what_is_below_the_output_path_is_sent(output_path: str, folder: Path) -> None:
    assert content(f"file://{folder}/mine/1.png", output_path.format(folder=folder)) == PNG


@pytest.mark.parametrize(
    "uri",
    [
        "file://{folder}/mine-too/1.png",
        "file://{folder}/1.png",
        "file://{folder}/mine/../1.png",
        "file://{folder}/mine/./../1.png",
        "file://{folder}/mine/x/../../1.png",
        "file://{folder}/mine/.\t./1.png",
        "file://{folder}//mine-too/1.png",
        "file://{folder}/mine/link/1.png",
        "file://{folder}/mine/link.png",
        "local://{folder}/1.png",
        "{folder}/1.png",
        "file://host{folder}/mine/1.png",
        "file://someone@{folder}/mine/1.png",
        "s3://{folder}/mine/1.png",
        "simplecache::file://{folder}/1.png",
        "simplecache::file://{folder}/mine/1.png",
        "mine/1.png",
        "file://[/mine/1.png",
        "file://{folder}/mine",
        "file://{folder}/mine/",
        "",
    ],
)
def test_what_is_anywhere_else_is_not(uri: str, folder: Path) -> None:
    (folder / "mine" / "link").symlink_to(folder)
    (folder / "mine" / "link.png").symlink_to(folder / "1.png")
    error_from_status(uri.format(folder=folder), f"file://{folder}/mine")


def test_links_within_the_folder_are_followed(folder: Path) -> None:
    (folder / "linked").symlink_to(folder / "mine")
    (folder / "mine" / "latest.png").symlink_to(folder / "mine" / "1.png")
    assert content(f"file://{folder}/mine/latest.png", f"file://{folder}/mine") == PNG
    # The folder itself may be known by another name, in the one and in the other.
    assert content(f"file://{folder}/linked/1.png", f"file://{folder}/mine") == PNG
    assert content(f"file://{folder}/mine/1.png", f"file://{folder}/linked") == PNG


def test_a_percent_sign_in_a_local_name_means_nothing(folder: Path) -> None:
    assert content(f"file://{folder}/mine/%2e%2e/1.png", f"file://{folder}/mine") == PNG


@pytest.mark.parametrize(
    "output_path", [None, "", "{x}", "{", "/", "file:///", "file:///{request_id}.png", "mine", "s3://", 5, ["x"], "***"]
)
def test_without_a_folder_nothing_is_sent(output_path: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    error_from_status(f"file://{folder}/mine/1.png", output_path)


def test_without_a_rendered_output_path_nothing_is_sent(folder: Path) -> None:
    with pytest.raises(FileNotShownError):
        find_image(f"file://{folder}/mine/1.png", None)


@pytest.fixture
def bucket(s3: S3FileSystem) -> S3FileSystem:
    s3.pipe("pictures/mine/1.png", PNG)
    s3.pipe("pictures/mine/not.png", b"no image")
    s3.pipe("pictures/other/1.png", PNG)
    return s3


@pytest.mark.parametrize(
    "output_path",
    [
        "s3://moto@pictures/mine",
        "s3://moto@pictures/mine/{request_id}.{extension}",
        "s3://moto@pictures/m{index}",
        "s3://moto@pictures",
    ],
)
def test_objects_below_the_output_path_are_sent(output_path: str, bucket: S3FileSystem) -> None:
    assert content("s3://moto@pictures/mine/1.png", output_path) == PNG


@pytest.mark.parametrize(
    "uri",
    [
        "s3://moto@pictures/other/1.png",
        "s3://moto@pictures/mine/../other/1.png",
        "s3://moto@pictures/mine/%2e%2e/other/1.png",
        "s3://moto@pictures/mine/%252e%252e/other/1.png",
        "s3://moto@pictures/mine/..%2fother/1.png",
        "s3://moto@pictures/mine/..\\other/1.png",
        "s3://moto@pictures/mineral/1.png",
        "s3://moto@other/mine/1.png",
        "s3://pictures/mine/1.png",
        "s3://other@pictures/mine/1.png",
        "s3a://moto@pictures/mine/1.png",
        "file://moto@pictures/mine/1.png",
        "s3://moto@pictures/mine/not.png",
        "s3://moto@pictures/mine/not_found.png",
        "s3://moto@pictures/mine",
    ],
)
def test_other_objects_are_not(uri: str, bucket: S3FileSystem) -> None:
    error_from_status(uri, "s3://moto@pictures/mine")


def test_the_connection_of_another_uri_is_not_even_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import airflow.sdk.io.path

    looked_up: list[object] = []
    monkeypatch.setattr(airflow.sdk.io.path, "attach", lambda *names, **_: looked_up.append(names))
    error_from_status("s3://secrets@pictures/mine/1.png", "s3://moto@pictures/mine")
    assert looked_up == []


def test_in_memory() -> None:
    attach("memory", fs=MemoryFileSystem())
    path = ObjectStoragePath("memory://pictures/mine/1.png")
    path.write_bytes(PNG)
    assert content(str(path), "memory://pictures/mine") == PNG
    assert content(str(path), "memory:///pictures/mine/{index}.png") == PNG
    error_from_status(str(path), "memory://pictures/other")
    error_from_status("memory://pictures/other/../mine/1.png", "memory://pictures/other")
    path.unlink()


@pytest.mark.parametrize("name", ["notes.png", "huge.png", "pipe.png", "folder.png", "not_found.png", "/dev/zero"])
def test_only_images_are_sent(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("only the name is an image's")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.write(PNG)
        huge.truncate(32 * 2**20 + 1)
    error_from_status(f"file://{tmp_path / name}", f"file://{tmp_path}" if not name.startswith("/") else "file:///dev")


def test_the_tag_changes_with_the_file(tmp_path: Path, bucket: S3FileSystem) -> None:
    for uri in (f"file://{tmp_path}/1.png", "s3://moto@pictures/mine/1.png"):
        place = OutputFolder.from_output_path(uri.rpartition("/")[0])
        ObjectStoragePath(uri).write_bytes(PNG)
        first = find_image(uri, place).etag
        assert first
        assert find_image(uri, place).etag == first
        # Of the same length.
        ObjectStoragePath(uri).write_bytes(PNG[:-1] + b"x")
        assert find_image(uri, place).etag != first


def record(manifest: Path, output_path: object = None, **counts: Any) -> TaskRecord:
    place = OutputFolder.from_output_path(output_path or f"file://{manifest.parent}")
    xcoms = {
        "counts": {"items": 2, "succeeded": 2, "failed": 0, "cost": 1.0} | counts,
        "manifest": f"file://{manifest}",
    }
    return TaskRecord("paint", -1, None, "success", xcoms, NOW, output_folder=place)


def seeds(manifest: Path, output_path: object = None) -> Any:
    """What is read of the rows."""
    rows = read_manifest(record(manifest, output_path), f"file://{manifest}")
    return rows if rows is None else [row and row.get("seed") for row in rows]


def test_a_manifest_is_read_where_the_task_writes_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    row = json.dumps({"seed": 1}) + "\n"
    for name in ("mine/manifest_1.jsonl", "manifest_1.jsonl", "mine/rows.jsonl"):
        (tmp_path / name).write_text(row * 2)
    mine = f"file://{tmp_path}/mine"
    assert seeds(tmp_path / "mine/manifest_1.jsonl", mine) == [1, 1]
    assert seeds(tmp_path / "mine/manifest_1.jsonl", f"{mine}/cat-{{request_id}}.png") == [1, 1]
    assert seeds(tmp_path / "manifest_1.jsonl", mine) is None
    assert seeds(tmp_path / "mine/rows.jsonl", mine) is None
    assert seeds(tmp_path / "mine/manifest_2.jsonl", mine) is None


def test_of_a_row_nothing_is_kept_but_what_may_be_shown(tmp_path: Path) -> None:
    row = {
        "urls": [f"file:///{number}.png" for number in range(100)] + [{"a": 1}],
        "request_id": "r-1",
        "cost": 0.01,
        "error": {"type": "E", "message": "no", "more": [1]},
        "arguments": {"prompt": "a cat", "samples": 2, "more": {"a": 1}},
        "more": [1],
    }
    manifest = tmp_path / "manifest_1.jsonl"
    manifest.write_text(json.dumps(row))
    (kept,) = read_manifest(record(manifest), f"file://{manifest}") or ()
    assert kept == {
        "urls": [f"file:///{number}.png" for number in range(16)],
        "request_id": "r-1",
        "cost": 0.01,
        "error": {"type": "E", "message": "no"},
        "arguments": {"prompt": "a cat", "samples": 2},
    }


def test_why_a_file_is_not_read_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert seeds(tmp_path / "manifest_1.jsonl") is None
    assert "is not shown: the API server cannot read it (FileNotFoundError" in caplog.text


def test_a_row_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest_1.jsonl"
    good = json.dumps({"seed": 1})
    bad = ["[" * 100_000, "[]", "{", '{"prompt": "' + "x" * 2**17 + '"}', '{"seed": ' + "9" * 5000 + "}"]
    manifest.write_text("\n".join([good, *bad, good]) + "\n")
    assert seeds(manifest) == [1, *[None] * len(bad), 1]


@pytest.mark.parametrize("content", [b"", PNG, b"root:x:0:0\n" * 20, b"[]\n[]\n"])
def test_what_is_no_manifest_has_no_rows(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest_1.jsonl").write_bytes(content)
    assert seeds(tmp_path / "manifest_1.jsonl") is None


def test_a_manifest_that_has_changed_is_read_again(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest_1.jsonl"
    manifest.write_text('{"seed": 1}\n')
    assert seeds(manifest) == [1]
    manifest.write_text('{"seed": 2}\n')
    os.utime(manifest, (1, 1))
    assert seeds(manifest) == [2]


@pytest.fixture
def _memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_memory")
@pytest.mark.parametrize(
    "content",
    [
        b"{}\n" * 700_000,
        b"{}\n" * (12 * 2**20),
        (b'{"urls": [' + b"{}," * 20_000 + b"{}]}\n") * 50,
        b"[" * (33 * 2**20),
        b'{"urls": ["' + b"x" * (33 * 2**20),
    ],
    ids=["2 MB of {}", "36 MB of {}", "rows of many things", "deep", "one long row"],
)
def test_a_manifest_made_to_be_expensive_is_cheap(content: bytes, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest_1.jsonl"
    manifest.write_bytes(content)
    tracemalloc.reset_peak()
    before, started = tracemalloc.get_traced_memory()[0], time.process_time()
    items = list_items(record(manifest), read_manifest)
    Totals.from_items(items)
    build_cards(PageNumber.nearest(1, len(items), 60).cut(items, 60), items, NOW, lambda _: ())
    assert len(items) <= MAX_LISTED_ITEMS
    # Several times as long as without tracemalloc.
    assert time.process_time() - started < 5
    # What is read of it, its lines, and little more.
    assert tracemalloc.get_traced_memory()[1] - before < 2 * min(len(content), 32 * 2**20) + 30 * 2**20
