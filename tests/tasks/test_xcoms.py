"""What is told beside the result: what was sent, why a try has failed, and where the link to the image leads."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk import DAG, Connection
from task_instance import TaskInstance, cats, paint, paint_all

from airflow_provider_kandinsky.batch.delivery import BatchItemsFailedError
from airflow_provider_kandinsky.capabilities import AirflowFailException, ui_has_plugin_tabs
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.links.kandinsky import image_link
from airflow_provider_kandinsky.sandbox.handle import Sandbox
from airflow_provider_kandinsky.segmind.errors import JobFailedError
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@both_ways
def test_the_rendered_fields_show_the_seed_that_was_chosen(
    sandbox: Sandbox, ti: TaskInstance, deferrable: bool
) -> None:
    operator = paint(deferrable=deferrable, samples="2")
    assert operator.overwrite_rtif_after_execution
    ti.run(operator)
    assert operator.seed == sandbox.submissions[0]["payload"]["seed"]


def test_a_task_that_resumes_shows_what_was_sent_and_not_what_templates_give_by_then(
    sandbox: Sandbox, ti: TaskInstance
) -> None:
    ti.run(paint(prompt="yesterday's cat", deferrable=True, timeout=60))
    resumed = paint(prompt="today's cat", deferrable=True)
    resumed.resume_execution(
        "execute_complete", {"event": {"request_id": ti.pushed["request_id"]}}, ti.context_of(resumed)
    )
    assert resumed.prompt == "yesterday's cat"
    assert resumed.seed == ti.pushed["arguments"]["seed"]


@both_ways
def test_what_a_failed_try_wanted_and_why_it_failed(sandbox: Sandbox, ti: TaskInstance, deferrable: bool) -> None:
    with pytest.raises(JobFailedError) as failure:
        ti.run(paint(prompt="[fail] cat", deferrable=deferrable))
    assert ti.pushed["arguments"]["prompt"] == "[fail] cat"
    assert ti.pushed["error"] == {"type": "JobFailedError", "message": str(failure.value)}
    assert "A retry submits it anew" in ti.pushed["error"]["message"]

    request_id = ti.pushed["request_id"]
    ti.pushed.clear()
    sensor = KandinskyJobSensor(task_id="paint", dag=DAG("gallery"), request_id=request_id, deferrable=deferrable)
    with pytest.raises(AirflowFailException):
        ti.run(sensor)
    assert ti.pushed["error"]["type"] == "JobFailedError"


def test_a_failed_batch_still_hands_over_what_was_bought(sandbox: Sandbox, ti: TaskInstance) -> None:
    with pytest.raises(BatchItemsFailedError, match="1 of 3 items have failed"):
        ti.run(paint_all(["[fail] cat", *cats(2)]))
    assert [len(row["urls"]) for row in ti.pushed["return_value"]] == [0, 1, 1]
    assert ti.pushed["error"]["type"] == "BatchItemsFailedError"


def test_an_xcom_backend_that_fails_does_not_hide_why_the_task_has(
    sandbox: Sandbox, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push = ti.xcom_push

    def refuse(key: str, value: Any) -> None:
        if key == "error":
            raise OSError("the bucket of the XComs is full")
        push(key, value)

    monkeypatch.setattr(ti, "xcom_push", refuse)
    with caplog.at_level(logging.ERROR), pytest.raises(JobFailedError):
        ti.run(paint(prompt="[fail] cat"))
    assert "The error could not be put into XCom" in caplog.text


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://images.segmind.com/1.png", "https://images.segmind.com/1.png"),
        ("https://mine.example/1.png", "https://mine.example/1.png"),
        # As it was understood here: a browser takes a backslash for a slash, and would go elsewhere.
        ("https://elsewhere.example\\@mine.example/1.png", "https://mine.example/1.png"),
        ("https://user:word@mine.example/1.png#x", "https://mine.example/1.png"),
    ],
)
def test_the_link_leads_to_the_first_picture(ti: TaskInstance, url: str, link: str) -> None:
    connection = Connection(conn_id="linked", conn_type="kandinsky", password="SG_x")
    ConnectionSettings.read(connection, {"image_hosts": "mine.example"})
    assert image_link([url, "https://images.segmind.com/2.png"], ti, "linked") == link


def test_the_link_of_a_task_leads_where_its_connection_allows(sandbox: Sandbox, ti: TaskInstance) -> None:
    urls = ti.run(paint())
    assert image_link(urls, ti, "kandinsky_default") == urls[0]
    # In a process that has not read the connection the service's own host is the only one.
    assert image_link(urls, ti, "never_read") == image_link(None, ti, "never_read")
    assert image_link(["https://images.segmind.com/1.png"], ti, "never_read") == "https://images.segmind.com/1.png"


@pytest.mark.parametrize(
    "returned",
    [
        None,
        [],
        "3f1c",
        ["s3://bucket/cat.png"],
        ["javascript:alert(1)"],
        ["https://elsewhere.example/1.png"],
        ["http://images.segmind.com/1.png"],
        ["https://images.segmind.com@elsewhere.example/1.png"],
        ["https://images.segmind.com.elsewhere.example/1.png"],
        ["https://[/1.png"],
        [{"urls": []}],
        {"a": 1},
    ],
)
@pytest.mark.parametrize("map_index", [-1, 3])
def test_without_a_picture_that_may_be_shown_the_link_leads_to_the_gallery(
    ti: TaskInstance, returned: Any, map_index: int
) -> None:
    ti.task_id, ti.run_id, ti.map_index = "group.paint", "scheduled__2026-01-01T00:00:00+00:00", map_index
    where = "/dags/gallery/runs/scheduled__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/group.paint"
    mapped = "/mapped/3" if map_index == 3 else ""
    expected = f"{where}{mapped}/plugin/kandinsky-gallery" if ui_has_plugin_tabs() else ""
    assert image_link(returned, ti, "kandinsky_default") == expected


@both_ways
@pytest.mark.parametrize("seed", [2**64, str(2**64), -(2**63) - 1, "9" * 400], ids=["number", "text", "low", "long"])
def test_airflow_can_carry_whatever_the_service_tells(
    sandbox: Sandbox, ti: TaskInstance, deferrable: bool, seed: Any
) -> None:
    """Its messages from a worker hold no integer beyond 64 bits: the worker would die of it in every try."""
    frame = getattr(import_module("airflow.sdk.execution_time.comms"), "_RequestFrame", None)
    if frame is None:
        pytest.skip("this Airflow sends its messages in another way")
    with pytest.raises(OverflowError):
        frame(id=1, body={"value": 2**64}).as_bytes()
    told = {
        "seed": seed,
        "metrics": {"cost": 10**400, "inference_time": 2**70},
        "output": f"{sandbox.url}/\0\ud800.png",
    }
    sandbox.fault("result", body=json.dumps({"status": "COMPLETED"} | told))
    ti.run(paint(seed=7, deferrable=deferrable))
    assert frame(id=1, body={"value": ti.pushed}).as_bytes()
    assert ti.pushed["generation"]["seed"] == 7
