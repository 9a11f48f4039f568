"""What is stored is delivered again, by whatever run, and nothing is submitted for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.exceptions import ReuseIndexError
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import SMALL, FakeTaskInstance, another_run, paint


def entries(folder: str) -> list[ObjectStoragePath]:
    path = ObjectStoragePath(folder) / ".kandinsky"
    protocol = f"{path.protocol}://moto@" if path.protocol == "s3" else "file://"
    return [ObjectStoragePath(f"{protocol}{each}") for each in sorted(path.fs.find(path.path))]


def reuse(folder: str, **arguments: Any) -> Any:
    return paint(
        **SMALL | {"output_path": f"{folder}/{{request_id}}-{{index}}.{{extension}}", "reuse": True} | arguments
    )


@pytest.mark.parametrize("deferrable", [False, True])
def test_another_run_gets_the_same_image(
    sandbox: Sandbox, ti: FakeTaskInstance, folder: str, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    uris = ti.run(reuse(folder, samples=2, deferrable=deferrable))
    first, calls = dict(ti.pushed), len(sandbox.calls())
    (entry,) = entries(folder)
    assert json.loads(entry.read_text())["run_id"] == "manual__1"

    second = another_run()
    assert second.run(reuse(folder, samples=2, deferrable=deferrable)) == uris
    assert len(sandbox.calls()) == calls  # not one more of any kind
    generation = second.pushed["generation"]
    assert generation["reused"] is True
    assert generation["cost"] == 0
    assert (generation["request_id"], generation["seed"]) == (first["request_id"], first["generation"]["seed"])
    assert generation["locations"] == first["generation"]["locations"] == [uri.replace("moto@", "") for uri in uris]
    assert second.pushed["request_id"] == first["request_id"]
    assert f"Reused request {first['request_id']}: 2 image(s), cost $0" in caplog.text


@pytest.mark.parametrize(
    "changed",
    [{"prompt": "a dog"}, {"samples": 2}, {"seed": 7}, {"img_width": 1024}, {"guidance_scale": 3}],
    ids=lambda changed: next(iter(changed)),
)
def test_other_arguments_are_another_image(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, changed: dict[str, Any]
) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse(folder))
    another_run().run(reuse(folder, **changed))
    assert len(sandbox.submissions) == 2


def test_an_image_of_another_service_is_another_image(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse(folder))
    # The same sandbox, by another name.
    elsewhere = sandbox.connection().replace("127.0.0.1", "localhost")
    assert elsewhere != sandbox.connection()
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", elsewhere)
    another_run().run(reuse(folder))
    assert len(sandbox.submissions) == 2


@pytest.mark.parametrize(
    "spelled", [lambda url: f"{url}/", lambda url: f"{url}/v1", lambda url: url.replace("http", "HTTP")], ids=range(3)
)
def test_the_same_service_spelled_otherwise_is_the_same(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: Any
) -> None:
    folder = f"file://{tmp_path}"
    uris = ti.run(reuse(folder))
    connection = json.loads(sandbox.connection())
    connection["host"] = spelled(connection["host"])
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", json.dumps(connection))
    assert another_run().run(reuse(folder)) == uris
    assert len(sandbox.submissions) == 1


def test_a_random_image_is_another_one_each_time(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse(folder, seed=-1))
    another_run().run(reuse(folder, seed=-1))
    assert len(sandbox.submissions) == 2
    assert entries(folder) == []


@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_what_is_not_whole_is_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, folder: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    (uri,) = ti.run(reuse(folder))
    path = ObjectStoragePath(uri)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    (again,) = another_run().run(reuse(folder))
    assert len(sandbox.submissions) == 2
    assert f"Not reused: {uri}" in caplog.text
    assert "submitting again" in caplog.text
    caplog.clear()
    assert another_run(3).run(reuse(folder)) == [again]
    assert len(sandbox.submissions) == 2
    assert "Not reused" not in caplog.text


@pytest.mark.parametrize(
    "mangle",
    [
        lambda entry: b"",
        lambda entry: b"\xff\x00",
        lambda entry: b"[]",
        lambda entry: b"[" * 50_000,
        lambda entry: b"7",
        lambda entry: json.dumps(entry).encode()[:-20],
        lambda entry: json.dumps(entry | {"uris": ["file:///etc/passwd"], "sizes": [1]}).encode(),
        lambda entry: json.dumps(entry | {"uris": [entry["uris"][0].replace("cats", "dogs") + "/../../x"]}).encode(),
        lambda entry: json.dumps(entry | {"uris": [None]}).encode(),
        lambda entry: json.dumps(entry | {"uris": []}).encode(),
        lambda entry: json.dumps(entry | {"uris": entry["uris"] * 2}).encode(),
        lambda entry: json.dumps(entry | {"uris": [entry["uris"][0] + "\n"]}).encode(),
        lambda entry: json.dumps(entry | {"sizes": ["12"]}).encode(),
        lambda entry: json.dumps(entry | {"sizes": [True]}).encode(),
        lambda entry: json.dumps(entry | {"request_id": "a b"}).encode(),
        lambda entry: json.dumps({name: entry[name] for name in entry if name != "request_id"}).encode(),
    ],
    ids=range(16),
)
def test_a_mangled_entry_is_not_there(
    sandbox: Sandbox, ti: FakeTaskInstance, folder: str, mangle: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ti.run(reuse(folder))
    (entry,) = entries(folder)
    entry.write_bytes(mangle(json.loads(entry.read_text())))
    (uri,) = another_run().run(reuse(folder))
    assert len(sandbox.submissions) == 2
    assert uri.startswith(folder)
    assert f"Not reused: {entry} is not an entry of the index" in caplog.text


def test_what_cannot_be_read_is_not_submitted(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse(folder))
    (entry,) = entries(folder)
    entry.unlink()
    Path(entry.path).mkdir()  # not to be read as a file, by whatever user
    with pytest.raises(ReuseIndexError, match=r"could not be read or written .* Nothing was submitted.*billed: no"):
        another_run().run(reuse(folder))
    assert len(sandbox.submissions) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_path": None}, "reuse=True needs an output_path"),
        ({"wait_for_completion": False}, "wait_for_completion=False is not allowed: it must be True with reuse=True"),
    ],
)
def test_what_cannot_be_reused_is_refused_as_the_dag_is_parsed(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        reuse(f"file://{tmp_path}", **arguments)


def test_a_claim_is_waited_for(sandbox: Sandbox, ti: FakeTaskInstance, folder: str) -> None:
    first = reuse(folder, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        first.execute(ti.context_of(first))
    second, other = reuse(folder, deferrable=True), another_run()
    with pytest.raises(TaskDeferred) as waiting:
        second.execute(other.context_of(second))
    assert waiting.value.method_name == "execute_after_reset"
    assert len(sandbox.submissions) == 1
    from ..support.task_instance import fire

    kwargs = (deferred.value.kwargs or {}) | {"event": fire(deferred.value.trigger)}
    uris = ti.resume(first, deferred.value.method_name, kwargs)
    assert other.resume(second, "execute_after_reset", waiting.value.kwargs | {"event": None}) == uris
    assert len(sandbox.submissions) == 1
    assert len(entries(folder)) == 1  # no claim is left
