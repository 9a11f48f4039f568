"""Images in S3, served by moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import ImageNotStoredError

from ..support.task_instance import SMALL, FakeTaskInstance, cats, paint, paint_all

if TYPE_CHECKING:
    from s3fs import S3FileSystem

PNG = b"\x89PNG"


def test_images_are_stored(sandbox: Sandbox, ti: FakeTaskInstance, s3: S3FileSystem) -> None:
    uris = ti.run(paint(samples=2, output_path="s3://moto@pictures/cats", deferrable=True))
    request_id = ti.pushed["request_id"]
    assert uris == [f"s3://moto@pictures/cats/{request_id}-{index}.png" for index in range(2)]
    assert all(ObjectStoragePath(uri).read_bytes().startswith(PNG) for uri in uris)
    # Nothing unfinished is left.
    assert len(s3.find("pictures")) == 2


def test_what_is_stored_is_not_fetched_again(sandbox: Sandbox, ti: FakeTaskInstance, s3: S3FileSystem) -> None:
    first = ti.run(paint(output_path="s3://moto@pictures"))
    assert ti.run(paint(output_path="s3://moto@pictures")) == first
    assert sandbox.count_calls("image") == 1


def test_a_batch_and_its_manifest_are_stored(sandbox: Sandbox, ti: FakeTaskInstance, s3: S3FileSystem) -> None:
    path = "s3://moto@pictures/{request_id}/{index}.{extension}"
    rows = ti.run(paint_all(cats(25), output_path=path, max_in_flight=10, deferrable=True, **SMALL))
    assert all(ObjectStoragePath(row["urls"][0]).read_bytes().startswith(PNG) for row in rows)
    manifest = ObjectStoragePath(ti.pushed["manifest"])
    assert str(manifest) == "s3://moto@pictures/manifest_gallery_manual__1_paint.jsonl"
    written = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row.pop("arguments") for row in written] == ti.pushed["arguments"]
    assert written == rows
    assert len(s3.find("pictures")) == 26


def test_a_missing_bucket_costs_no_second_image(sandbox: Sandbox, ti: FakeTaskInstance, s3: S3FileSystem) -> None:
    with pytest.raises(
        ImageNotStoredError, match=r"could not be written to s3://moto@no-such.*billed: yes.*fetches the images again"
    ):
        ti.run(paint(output_path="s3://moto@no-such-bucket/cats"))
    s3.mkdir("no-such-bucket")
    assert ti.run(paint(output_path="s3://moto@no-such-bucket/cats"))
    assert len(sandbox.submissions) == 1
