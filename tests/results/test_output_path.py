"""Images in the user's own storage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.exceptions import ImageRefusedError, ImageUnavailableError
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.storage import store
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.task_instance import FakeTaskInstance, paint, paint_all

PNG = b"\x89PNG"


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_images_are_stored_and_their_uris_returned(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool
) -> None:
    uris = ti.run(paint(samples=2, output_path=f"file://{tmp_path}/cats", deferrable=deferrable))

    request_id = ti.pushed["request_id"]
    assert [Path(uri.removeprefix("file://")).name for uri in uris] == [f"{request_id}-{index}.png" for index in (0, 1)]
    assert all(ObjectStoragePath(uri).read_bytes().startswith(PNG) for uri in uris)
    assert ti.pushed["source_urls"] == [f"{sandbox.url}/generations/{request_id}-{index}.png" for index in (0, 1)]
    assert {path.name for path in (tmp_path / "cats").iterdir()} == {f"{request_id}-{index}.png" for index in (0, 1)}


def test_names_are_the_users_own(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    (uri,) = ti.run(paint(seed=7, output_path=f"file://{tmp_path}/{{seed}}/cat-{{index}}.{{extension}}"))
    assert (tmp_path / "7" / "cat-0.png").read_bytes().startswith(PNG)
    assert uri.endswith("/7/cat-0.png")


def test_memory_is_storage_too(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    attach("memory", fs=MemoryFileSystem())
    (uri,) = ti.run(paint(output_path="memory://gallery"))
    assert ObjectStoragePath(uri).read_bytes().startswith(PNG)


def test_base64_goes_straight_to_files(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    uris = ti.run(paint(base64=True, samples=2, output_path=f"file://{tmp_path}", deferrable=True))
    assert len(uris) == 2
    assert all(ObjectStoragePath(uri).read_bytes().startswith(PNG) for uri in uris)
    assert sandbox.count_calls("image") == 0
    assert len(str(ti.pushed)) < 1000


def test_the_sensor_stores_too(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    sensor = KandinskyJobSensor(
        task_id="wait", request_id=request_id, poke_interval=0.1, timeout=5, output_path=f"file://{tmp_path}"
    )
    (uri,) = ti.run(sensor)
    assert ObjectStoragePath(uri).read_bytes().startswith(PNG)


def test_what_is_stored_is_not_fetched_again(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    first = ti.run(paint(samples=2, output_path=f"file://{tmp_path}"))
    assert ti.run(paint(samples=2, output_path=f"file://{tmp_path}")) == first
    assert sandbox.count_calls("image") == 2
    assert len(sandbox.submissions) == 1


def test_a_new_submission_overwrites_the_old_image(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    name = f"file://{tmp_path}/image-{{index}}.{{extension}}"
    ti.run(paint(output_path=name))
    cat = (tmp_path / "image-0.png").read_bytes()
    ti.run(paint(prompt="a dog", output_path=name))
    assert (tmp_path / "image-0.png").read_bytes() != cat


def test_the_key_does_not_go_to_the_image_host(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    ti.run(paint(output_path=f"file://{tmp_path}"))
    assert [call["key_present"] for call in sandbox.calls("image")] == [False]


@pytest.mark.parametrize(
    ("fault", "failure", "message"),
    [
        ({"status": 404}, ImageUnavailableError, r"not be fetched.*billed: yes\] A retry fetches the images again"),
        ({"drop": True}, ImageUnavailableError, "could not be fetched"),
        ({"body": "<html>no picture</html>"}, AirflowFailException, "is not an image"),
    ],
)
def test_what_cannot_be_stored_leaves_no_file(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    failure: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("image", **fault)
    with pytest.raises(failure, match=message):
        ti.run(paint(output_path=f"file://{tmp_path}/cats"))
    assert not list(tmp_path.rglob("*.png*"))


def test_a_host_that_is_not_known_is_not_asked(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    sandbox.configure(public_url=sandbox.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(
        AirflowFailException, match=r"'localhost:\d+', which is not an allowed host.*add it to image_hosts"
    ):
        ti.run(paint(output_path=f"file://{tmp_path}"))
    assert sandbox.count_calls("image") == 0


def test_an_invalid_url_is_refused(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    sandbox.fault("result", body={"status": "COMPLETED", "output": "https://images.segmind.com:port/cat.png"})
    with pytest.raises(AirflowFailException, match=r"Invalid image URL.*billed: yes"):
        ti.run(paint(output_path=f"file://{tmp_path}"))


def test_a_host_of_the_connection_is_known(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sandbox.url.replace("127.0.0.1", "localhost")
    sandbox.configure(public_url=url)
    hosts = f"example.com, {url.removeprefix('http://')}"
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(image_hosts=hosts))
    assert len(ti.run(paint(output_path=f"file://{tmp_path}"))) == 1


def test_an_image_that_is_too_large_is_not_stored(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    (url,) = ti.run(paint())
    limited = replace(KandinskyHook().settings.download_policy, max_bytes=1000)
    (error,) = store([GenerationResult("r-1", (Image(url=url),))], OutputPath(f"file://{tmp_path}"), limited)
    assert isinstance(error, ImageRefusedError)
    assert "it is larger than" in error.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("file:///x/{prompt}.png", "unknown placeholder prompt; use request_id, key, index, seed, extension"),
        ("file:///x/{", "unknown placeholder"),
        ("gopher://x/", "output_path='gopher://x/' cannot be written to"),
        ("file:///x/{request_id}.png", "without {index} each image would overwrite the one before"),
    ],
)
def test_a_bad_template_is_refused_before_anything_is_sent(
    sandbox: Sandbox, ti: FakeTaskInstance, template: str, message: str
) -> None:
    with pytest.raises(AirflowFailException) as failure:
        ti.run(paint(samples=2, output_path=template))
    assert message in str(failure.value)
    assert sandbox.count_calls() == 0


@pytest.mark.parametrize(
    "template", ["s3://nobody@bucket/{id}", "s3://nobody@bucket/{request_id}", "s3://nobody@bucket/{"]
)
@pytest.mark.parametrize("task", [paint, lambda **more: paint_all(["a cat"], **more)], ids=["single", "batch"])
def test_a_literal_is_refused_when_the_dag_is_parsed(template: str, task: Any) -> None:
    """Without its storage, of which the DAG processor may know nothing."""
    with pytest.raises(AirflowFailException, match=r"output_path=.*is not allowed"):
        task(output_path=template, samples=2)
    with pytest.raises(AirflowFailException, match=r"output_path=.*is not allowed"):
        KandinskyJobSensor(task_id="wait", request_id="r-1", output_path="file:///tmp/{id}")
    assert task(output_path="s3://nobody@bucket/{{ ds }}/{request_id}", samples=2).output_path
    assert task(output_path="s3://nobody@bucket/{request_id}-{index}", samples=2).output_path
