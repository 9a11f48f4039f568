"""The tasks' lineage, read as the OpenLineage provider reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.observability.lineage import Lineage, dataset_name
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.task_instance import FakeTaskInstance, another_run, paint, paint_all


def lineage_of(task: Any, ti: FakeTaskInstance) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The run facet of a task that has ended, and its output datasets."""
    lineage = task.get_openlineage_facets_on_complete(ti)
    facet = lineage.run_facets.get("kandinsky")
    facet_values = {name: getattr(facet, name) for name in ("model", "cost", "generations")} if facet else {}
    return facet_values, [(each.namespace, each.name) for each in lineage.outputs]


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("https://images.segmind.com/a/b.png?signature=secret", "https://images.segmind.com", "a/b.png"),
        ("s3://aws_default@bucket/cats/1.png", "s3://bucket", "cats/1.png"),
        ("s3a://bucket/cats/1.png", "s3://bucket", "cats/1.png"),
        ("gcs://bucket/1.png", "gs://bucket", "1.png"),
        ("file:///srv/cats/1.png", "file", "/srv/cats/1.png"),
        ("file://nas/cats/1.png", "file://nas", "/cats/1.png"),
        ("abfs://conn@container/1.png", "abfs://container", "1.png"),
    ],
)
def test_files_are_named_as_openlineage_names_them(uri: str, namespace: str, name: str) -> None:
    assert dataset_name(uri) == (namespace, name)


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])
def test_a_task_has_the_lineage_of_its_job_and_images(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    task = paint(deferrable=deferrable, seed=7, samples=2)
    (_, first), (_, second) = outputs_of_run(ti, task)
    (job,) = sandbox.submissions
    assert lineage_of(task, ti)[0] == {
        "model": "kandinsky2.1-txt2im",
        "cost": 0.02,
        "generations": [{"request_id": job["request_id"], "seed": 7, "cost": 0.02}],
    }
    assert [first, second] == [f"generations/{job['request_id']}-{index}.png" for index in range(2)]


def outputs_of_run(ti: FakeTaskInstance, task: Any) -> list[tuple[str, str]]:
    ti.run(task)
    return lineage_of(task, ti)[1]


def test_stored_images_are_the_output(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    task = paint(output_path=f"file://{tmp_path}/{{request_id}}.{{extension}}")
    assert outputs_of_run(ti, task) == [("file", f"{tmp_path}/{sandbox.submissions[0]['request_id']}.png")]


def test_prompts_are_included_only_if_asked_for(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = paint(prompt="my secret campaign")
    ti.run(task)
    assert "campaign" not in repr(lineage_of(task, ti))
    monkeypatch.setenv("AIRFLOW__KANDINSKY__LINEAGE_INCLUDES_PROMPT", "True")
    assert lineage_of(task, ti)[0]["generations"][0]["prompt"] == "my secret campaign"


def test_a_failed_task_has_the_lineage_of_its_request(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(latency=60)
    task = paint(timeout=0.1)
    with pytest.raises(KandinskyError, match="was not finished"):
        ti.run(task)
    facet_values, outputs = lineage_of(task, ti)
    assert facet_values["generations"] == [{"request_id": sandbox.submissions[0]["request_id"]}]
    assert outputs == []


def test_a_task_that_failed_before_it_submitted_has_no_lineage(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    task = paint(model="no-such-model")
    with pytest.raises(Exception, match="model"):
        ti.run(task)
    assert lineage_of(task, ti) == ({}, [])


@pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferrable"])
def test_a_sensor_has_the_lineage_of_its_job(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    request_id = ti.run(paint(wait_for_completion=False, seed=7))
    sensor = KandinskyJobSensor(
        task_id="wait", dag=DAG("gallery"), request_id=request_id, poke_interval=0.05, deferrable=deferrable
    )
    assert outputs_of_run(ti, sensor) == [(sandbox.url, f"generations/{request_id}-0.png")]
    assert lineage_of(sensor, ti)[0] == {
        "model": None, "cost": 0.01, "generations": [{"request_id": request_id, "seed": 7, "cost": 0.01}],
    }  # fmt: skip


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])
def test_a_batch_has_the_lineage_of_every_item(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    task = paint_all(["a cat", "[blocked]"], seed=7, on_item_failure="keep", deferrable=deferrable)
    rows = ti.run(task)
    facet_values, outputs = lineage_of(task, ti)
    assert facet_values == {
        "model": "kandinsky2.1-txt2im",
        "cost": 0.01,
        "generations": [
            {"request_id": rows[0]["request_id"], "seed": 7, "cost": 0.01},
            {"request_id": rows[1]["request_id"], "seed": 7, "error": "ContentBlockedError"},
        ],
    }
    assert outputs == [(sandbox.url, f"generations/{rows[0]['request_id']}-0.png")]


def test_a_failed_batch_has_the_lineage_of_its_images(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    task = paint_all(["a cat", "[blocked]"])
    with pytest.raises(Exception, match="1 of 2 items have failed"):
        ti.run(task)
    assert len(lineage_of(task, ti)[1]) == 1


@pytest.mark.parametrize("make", [paint, lambda **arguments: paint_all([arguments.pop("prompt")], **arguments)])
def test_what_is_reused_is_the_output_at_no_cost(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, make: Any
) -> None:
    def task() -> Any:
        return make(prompt="a cat", output_path=f"file://{tmp_path}/{{request_id}}.{{extension}}", reuse=True, seed=7)

    first, second = task(), task()
    outputs = outputs_of_run(ti, first)
    assert outputs_of_run(another_run(), second) == outputs
    (job,) = sandbox.submissions
    facet_values, _ = lineage_of(second, ti)
    assert facet_values == {
        "model": "kandinsky2.1-txt2im",
        "cost": 0.0,
        "generations": [{"request_id": job["request_id"], "seed": 7, "cost": 0.0, "reused": True}],
    }


def test_of_a_large_batch_the_manifest_is_the_output(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    task = paint_all(["a cat", "a dog"], output_path=f"file://{tmp_path}", max_xcom_items=1)
    assert outputs_of_run(ti, task) == [("file", f"{tmp_path}/manifest_gallery_manual__1_paint.jsonl")]
    assert lineage_of(task, ti)[0] == {"model": "kandinsky2.1-txt2im", "cost": 0.02, "generations": []}


@pytest.mark.parametrize(
    ("lineage", "setting"),
    [
        (Lineage("m", 0.01, [], ["http://[no-url"]), "False"),
        (Lineage("m", 0.01, [], [None]), "False"),  # type: ignore[list-item]  # as an event of another version may have it
        (Lineage("m", 0.01, [None], []), "False"),  # type: ignore[list-item]
        (Lineage("m", 0.01, [], []), "perhaps"),
    ],
    ids=["no URL", "nothing for a URL", "nothing for a request", "a setting that is none"],
)
def test_lineage_that_cannot_be_emitted_fails_no_task(
    ti: FakeTaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lineage: Lineage,
    setting: str,
) -> None:
    monkeypatch.setenv("AIRFLOW__KANDINSKY__LINEAGE_INCLUDES_PROMPT", setting)
    task = paint()
    task.lineage = lineage
    assert lineage_of(task, ti) == ({}, [])
    assert "Could not emit the lineage of the task" in caplog.text
