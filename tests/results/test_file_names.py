"""Ids of the service in file names: none leads anywhere else, and no two lead to one place."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_kandinsky.results.file_names import file_name, is_below
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.storage import store
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import BadRequestError, ImageRefusedError, SubmissionUnknownError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image

from ..support.task_instance import FakeTaskInstance, paint

if TYPE_CHECKING:
    from s3fs import S3FileSystem

#: All of them are request ids.
EVIL = [
    "../../dags/evil.py",
    "..",
    ".",
    "...",
    "../x",
    "/etc/passwd",
    "C:\\x",
    "a%2F..%2Fb",
    "~root",
    "*",
    "$HOME",
    "a" * 200,
]
PLAIN = string.ascii_letters + string.digits + "._-"


@pytest.mark.parametrize("request_id", EVIL)
def test_no_name_leads_anywhere(request_id: str) -> None:
    name = file_name(request_id)
    assert set(name) <= set(PLAIN + "=")
    assert name.strip(".")
    assert len(name) <= 200


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2c7f-11_a.B", "2c7f-11_a.B"),
        ("a/b", "a=2Fb"),
        ("a=2Fb", "a=3D2Fb"),
        ("..", "=2E=2E"),
        ("..a", "..a"),
        ("", "="),
        ("\u00e4\ud800", "=C3=A4=ED=A0=80"),
        ("a" * 200, "a" * 200),
    ],
)
def test_a_name_is_as_it_was_or_escaped(text: str, name: str) -> None:
    assert file_name(text) == name


def test_no_two_texts_have_one_name() -> None:
    rng = random.Random(1)
    texts = {"".join(rng.choices("a./=2FE-%", k=rng.randrange(5))) for _ in range(5000)}
    texts |= {"/" * length for length in range(300)} | {"a" * length for length in range(300)}
    texts |= {file_name(text) for text in texts}
    assert len({file_name(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("path", "fixed_part", "below"),
    [
        ("file:///x/a.png", "file:///x/", True),
        ("file:///x/a.png", "file:///x/a", True),
        ("/x/y/../a.png", "/x/", True),
        ("file:///x/../a.png", "file:///x/", False),
        ("file:///x/..", "file:///x/", False),
        ("file:///x/.", "file:///x/", False),
        ("/xy/a.png", "/x/", False),
        ("/a.png", "/", True),
        ("s3://c@b/x/../../../a", "s3://c@b/x/", False),
        ("s3://c@b/x/./a", "s3://c@b/x/", True),
        ("memory://x/../y/a", "memory://x/", False),
        ("a.png", "", True),
        ("../a.png", "", False),
        ("..", "", False),
        ("/a.png", "", False),
    ],
)
def test_what_is_below(path: str, fixed_part: str, below: bool) -> None:
    assert is_below(path, fixed_part) is below


TEMPLATES = [
    "{request_id}",
    "{request_id}/{index}.{extension}",
    "a-{request_id}",
    "{seed}/{request_id}",
    "x{index}/{request_id}.{extension}",
]


def folders(tmp_path: Path, s3: S3FileSystem) -> dict[str, Callable[[], list[str]]]:
    """A folder in each kind of storage, and what lies anywhere in that storage."""
    memory = MemoryFileSystem()
    memory.store.clear()
    attach("memory", fs=memory)
    everywhere: dict[str, Callable[[], list[str]]] = {
        f"file://{tmp_path}/out": lambda: [f"file://{path}" for path in tmp_path.rglob("*") if path.is_file()],
        "memory://out": lambda: [f"memory:/{path}" for path in memory.store],
        "s3://moto@pictures/out": lambda: [f"s3://moto@{path}" for path in s3.find("pictures")],
    }
    if str(ObjectStoragePath("memory://out")) != "memory://out":
        # The universal_pathlib of Airflow 3.0 has two names for each path in memory.
        del everywhere["memory://out"]
    return everywhere


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_image_is_below_the_fixed_part(tmp_path: Path, s3: S3FileSystem, template: str) -> None:
    gif = b"GIF89a" + b"\nimport os\n;"
    results = [
        GenerationResult(request_id, (Image(data=gif + str(place).encode()),)) for place, request_id in enumerate(EVIL)
    ]
    for folder, everything in folders(tmp_path, s3).items():
        stored = store(results, OutputPath(f"{folder}/{template}"), DownloadPolicy(frozenset()))
        uris = [uri for (uri,) in stored]
        assert all(uri.startswith(f"{folder}/") and "/../" not in uri for uri in uris)
        assert sorted(everything()) == sorted(uris)
        assert [ObjectStoragePath(uri).read_bytes() for uri in uris] == [each.images[0].data for each in results]


def test_another_file_is_not_taken_for_an_image_that_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"not for you")
    result = GenerationResult("../secret", (Image(url="https://images.segmind.com/x.png"),))
    output_path = OutputPath(f"file://{tmp_path}/out/{{request_id}}.{{extension}}")
    (failure,) = store([result], output_path, DownloadPolicy(frozenset()))
    assert isinstance(failure, ImageRefusedError)


def test_the_type_in_a_url_leads_nowhere(tmp_path: Path) -> None:
    path = OutputPath(f"file://{tmp_path}/{{request_id}}.{{extension}}")
    assert str(path.of(GenerationResult("r", ()), 0, "x/../../../etc")) == f"file://{tmp_path}/r.x=2F..=2F..=2F..=2Fetc"


@pytest.mark.parametrize("seed", ["../../x", {"a": 1}, 1.5, None])
def test_a_seed_that_is_none_is_named_random(tmp_path: Path, seed: Any) -> None:
    path = OutputPath(f"file://{tmp_path}/{{seed}}-{{index}}")
    assert str(path.of(GenerationResult("r", (), seed=seed), 0, "png")) == f"file://{tmp_path}/random-0"


REFUSED = {
    "{id}": "unknown placeholder id; use request_id, key, index, seed, extension",
    "{": "unknown placeholder",
    "{}": "unknown placeholder",
    "{request_id.__class__}{index}": "unknown placeholder",
    "{request_id[0]}{index}": "unknown placeholder",
    "{request_id:.3}{index}": "{request_id} takes no format",
    "{request_id!r}{index}": "{request_id} takes no format",
    "{request_id}": "without {index} each image would overwrite the one before",
    "{index}": "without {request_id} or {key} their images could overwrite each other",
    "{seed:04d}{request_id}{index}": "seed='random' does not fit the format",
    "{index:{width}}{request_id}": "seed=0 does not fit the format",
    "{request_id}/../../{index}": "it leads out of the folder that it begins with",
    "{request_id}{index}/..": "it leads out of the folder that it begins with",
}


@pytest.mark.parametrize(("template", "message"), REFUSED.items())
def test_a_template_is_checked_without_its_storage(template: str, message: str) -> None:
    for start in ("file:///x/", "s3://no_such_connection@bucket/", "gopher://x/"):
        with pytest.raises(BadRequestError) as refused:
            OutputPath.check_template(start + template, samples=2, jobs=2)
        assert refused.value.message.startswith(f"output_path={start + template!r} is not allowed")
        assert message in refused.value.message


@pytest.mark.parametrize(
    ("template", "whole"),
    [
        ("s3://no_such_connection@b/x", "s3://no_such_connection@b/x/{request_id}-{index}.{extension}"),
        ("/x/", "/x/{request_id}-{index}.{extension}"),
        ("gopher://x/{request_id}/{index:03d}", "gopher://x/{request_id}/{index:03d}"),
        ("/x/{{a}}", "/x/{{a}}/{request_id}-{index}.{extension}"),
        ("/x/{{a}}/{request_id}{index}", "/x/{{a}}/{request_id}{index}"),
        ("/x/{request_id}/../{request_id}{index}", "/x/{request_id}/../{request_id}{index}"),
    ],
)
def test_a_good_template_needs_no_storage(template: str, whole: str) -> None:
    assert OutputPath.check_template(template, samples=2, jobs=2) == whole


def test_braces_that_are_meant_are_part_of_the_folder(tmp_path: Path) -> None:
    path = OutputPath(f"file://{tmp_path}/{{{{request_id}}}}/{{index}}.{{extension}}")
    assert not path.is_unique_per_job
    assert str(path.folder / "m") == f"file://{tmp_path}/{{request_id}}/m"
    assert str(path.of(GenerationResult("r", ()), 0, "png")) == f"file://{tmp_path}/{{request_id}}/0.png"


def test_an_id_that_leads_out_of_the_folder_stays_in_it(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the response to the submission to the file."""
    image = f"{sandbox.url}/generations/evil.png"
    sandbox.fault("submit", body={"request_id": "..", "status": "QUEUED"}, times=1)
    sandbox.fault("status", body={"status": "COMPLETED"}, times=1)
    sandbox.fault("result", body={"status": "COMPLETED", "output": image}, times=1)
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("image", body="GIF89a;", times=1)
    folder = tmp_path / "a" / "out"
    (uri,) = ti.run(paint(output_path=f"file://{folder}/{{request_id}}/evil.py"))
    assert uri == f"file://{folder}/=2E=2E/evil.py"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "=2E=2E" / "evil.py"]


@pytest.mark.parametrize("request_id", ["evil id", "x" * 201, "r\n1"])
def test_an_id_that_can_be_none_is_an_unknown_outcome(
    sandbox: Sandbox, ti: FakeTaskInstance, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    sandbox.fault("submit", body={"request_id": request_id, "status": "QUEUED"}, times=1)
    with pytest.raises(SubmissionUnknownError, match="has no usable request id"):
        ti.run(paint())
    assert "request_id" not in ti.pushed
