"""A batch submits what is not stored yet, once, whoever wants it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.results.reuse_policy import ClaimPolicy
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.task_instance import SMALL, FakeTaskInstance, another_run, cats, paint_all

#: So that who waits for another asks again soon.
IMPATIENT = ClaimPolicy(interval=0.2)


def reuse_all(requests: Any, folder: str, **arguments: Any) -> Any:
    path = f"{folder}/{{request_id}}-{{index}}.{{extension}}"
    task = paint_all(requests, **SMALL | {"output_path": path, "reuse": True} | arguments)
    task.claim_policy = IMPATIENT
    return task


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_second_run_costs_nothing(sandbox: Sandbox, ti: FakeTaskInstance, folder: str, deferrable: bool) -> None:
    first = ti.run(reuse_all(cats(15), folder, max_in_flight=6, deferrable=deferrable))
    assert len(sandbox.submissions) == 15
    assert ti.pushed["counts"] == {"items": 15, "succeeded": 15, "failed": 0, "reused": 0, "cost": 0.15}
    calls = len(sandbox.calls())

    second = another_run()
    rows = second.run(reuse_all(cats(15), folder, max_in_flight=6, deferrable=deferrable))
    assert len(sandbox.calls()) == calls
    assert second.pushed["counts"] == {"items": 15, "succeeded": 15, "failed": 0, "reused": 15, "cost": 0}
    same = ("urls", "locations", "request_id", "seed", "error")
    assert [[row[name] for name in same] for row in rows] == [[row[name] for name in same] for row in first]
    assert {(row["reused"], row["cost"]) for row in rows} == {(True, 0.0)}
    written = ObjectStoragePath(second.pushed["manifest"]).read_text().splitlines()
    assert all(json.loads(line)["reused"] for line in written)


def test_only_what_has_changed_is_submitted(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    ti.run(reuse_all(cats(30), f"file://{tmp_path}"))
    rows = another_run().run(reuse_all([*cats(27), "a dog", "an owl", "a fox"], f"file://{tmp_path}"))
    assert len(sandbox.submissions) == 33
    assert [row["reused"] for row in rows] == [True] * 27 + [False] * 3


def test_a_batch_and_one_generation_share(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    from ..support.task_instance import paint

    path = f"file://{tmp_path}/{{request_id}}-{{index}}.{{extension}}"
    ti.run(paint(prompt="a cat", output_path=path, reuse=True, **SMALL))
    (row,) = another_run().run(reuse_all(["a cat"], f"file://{tmp_path}"))
    assert row["reused"]
    assert len(sandbox.submissions) == 1


def test_equal_items_are_one_image_unless_a_seed_says_otherwise(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path
) -> None:
    ti.run(reuse_all(["a cat", "a cat", {"prompt": "a cat", "seed": 1}], f"file://{tmp_path}"))
    assert len(sandbox.submissions) == 2


@pytest.mark.heavy  # two batches of fifty, and all their files
@pytest.mark.parametrize("deferrable", [False, True])
def test_two_that_want_the_same_submit_it_once(sandbox: Sandbox, folder: str, deferrable: bool) -> None:
    runs = [another_run(number) for number in range(2)]
    tasks = [reuse_all(cats(50), folder, deferrable=deferrable) for _ in runs]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda ti, task: ti.run(task), runs, tasks)
    assert len(sandbox.submissions) == 50
    assert [row["urls"] for row in first] == [row["urls"] for row in second]
    reused = [run.pushed["counts"]["reused"] for run in runs]
    assert sum(reused) == 50
    path = ObjectStoragePath(folder) / ".kandinsky"
    assert len(path.fs.find(path.path)) == 50  # no claim is left


def test_a_dead_owner_is_replaced(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse_all(cats(3), folder))
    for entry in tmp_path.glob(".kandinsky/*/*.json"):
        entry.unlink()
        # Claimed by a task that died, an hour ago.
        claim = {"owner": "dead", "claimed_at": entry.parent.stat().st_mtime - 3600, "lasts": 1800}
        entry.with_suffix(".claim1").write_text(json.dumps(claim))
    rows = another_run().run(reuse_all(cats(3), folder))
    assert len(sandbox.submissions) == 6
    assert not any(row["reused"] for row in rows)
    assert not list(tmp_path.glob(".kandinsky/*/*.claim*"))


def test_stored_images_that_are_gone_after_a_clear_are_made_again(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path
) -> None:
    folder = f"file://{tmp_path}"
    ti.run(reuse_all(cats(3), folder))
    second = another_run()
    rows = second.run(reuse_all(cats(3), folder))
    ObjectStoragePath(rows[1]["urls"][0]).unlink()
    second.clear()
    rows = second.run(reuse_all(cats(3), folder))
    assert len(sandbox.submissions) == 4
    assert [row["reused"] for row in rows] == [True, False, True]


def test_rows_have_names_of_their_own(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    requests = [{"key": "SKU/1", "prompt": "a cup"}, {"key": 2, "prompt": "a jug"}]
    path = f"file://{tmp_path}/{{key}}.{{extension}}"
    rows = ti.run(reuse_all(requests, "", output_path=path))
    assert [row["key"] for row in rows] == ["SKU/1", "2"]
    assert [row["urls"] for row in rows] == [[f"file://{tmp_path}/{name}.png"] for name in ("SKU=2F1", "2")]
    written = ObjectStoragePath(ti.pushed["manifest"]).read_text().splitlines()
    assert [json.loads(line)["key"] for line in written] == ["SKU/1", "2"]
    assert {json.loads(entry.read_text())["key"] for entry in tmp_path.glob(".kandinsky/*/*.json")} == {"SKU/1", "2"}


def test_a_key_leads_out_of_no_folder(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    hostile = [
        "../../a",
        "..",
        ".",
        "/etc/a",
        "a/../../b",
        "a\n",
        "~",
        "%2e%2e/a",
        "s3://pictures/a",
        "{index}",
        "é" * 300,
    ]
    names = [*hostile, ".kandinsky", *(f"manifest_{name}.jsonl" for name in hostile[:1])]
    folder = tmp_path / "images"
    path = f"file://{folder}/{{key}}/{{key}}.{{extension}}"
    rows = ti.run(reuse_all([{"key": name, "prompt": name} for name in names], "", output_path=path))
    assert [row["key"] for row in rows] == names
    assert len({row["urls"][0] for row in rows}) == len(names)
    for row in rows:
        assert Path(row["urls"][0].removeprefix("file://")).resolve().parent.parent == folder
    assert [each.name for each in tmp_path.iterdir()] == ["images"]
    assert another_run().run(reuse_all([{"key": 1, "prompt": "../../a"}], "", output_path=path))[0]["reused"]


def test_whoever_wants_it_it_is_submitted_once(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    """A backfill of 30 days, another DAG, and another deployment, where Airflow has no record of any of it."""
    wanted = [another_run(day) for day in range(30)]
    wanted[28].dag_id, wanted[29].task_id = "another", "another"
    for each in wanted:
        rows = each.run(reuse_all(cats(3), f"file://{tmp_path}"))
        assert all(row["error"] is None for row in rows)
    assert len(sandbox.submissions) == 3
    assert sum(each.pushed["counts"]["reused"] for each in wanted) == 29 * 3


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([{"key": "a", "prompt": "x"}, {"key": "a", "prompt": "y"}], r"requests\[1\]: key='a' .*\[0\] has it, too"),
        ([{"key": " ", "prompt": "x"}], r"requests\[0\]: key=' ' is not allowed"),
        ([{"key": True, "prompt": "x"}], r"key=True is not allowed"),
        ([{"key": "a\0", "prompt": "x"}], r"key='a\\x00' is not allowed"),
        ([{"key": "\ud800", "prompt": "x"}], r"key='\\ud800' is not allowed"),
        ([{"key": "a" * 1001, "prompt": "x"}], r"key='aaa.* is not allowed"),
        ([{"key": "a", "prompt": "x"}, "y"], r"{key} is for a batch in which each request has a key"),
    ],
)
def test_keys_are_checked(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, requests: Any, message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        ti.run(reuse_all(requests, "", output_path=f"file://{tmp_path}/{{key}}.png"))
    assert not sandbox.submissions
