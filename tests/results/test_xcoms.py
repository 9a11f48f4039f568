"""XComs beside the result: what was sent, why a try has failed, and where the link to the image leads."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, supports_plugin_tabs
from airflow_provider_kandinsky.exceptions import BatchItemsFailedError
from airflow_provider_kandinsky.links.kandinsky import KandinskyImageLink
from airflow_provider_kandinsky.observability.lineage import Lineage
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import JobFailedError
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import FakeTaskInstance, cats, fire, paint, paint_all

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


@both_ways
def test_the_seed_is_chosen_before_the_rendered_fields_are_written(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    operator = paint(deferrable=deferrable, samples="2")
    operator.render_template_fields(ti.context_of(operator))
    shown = operator.seed
    ti.run(operator)
    assert shown == sandbox.submissions[0]["payload"]["seed"]
    assert not operator.overwrite_rtif_after_execution  # another call to the API server


def deferral_of(ti: FakeTaskInstance, operator: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(ti.context_of(operator))
    event = {"event": fire(deferred.value.trigger)}
    return deferred.value.method_name, (deferred.value.kwargs or {}) | event


@pytest.mark.parametrize("left", ["in the deferral", "in the deferral for a reset"])
def test_a_task_that_resumes_shows_what_was_sent_and_not_what_templates_give_by_then(
    sandbox: Sandbox, ti: FakeTaskInstance, left: str
) -> None:
    sandbox.configure(latency=0)
    before = paint(prompt="yesterday's cat", deferrable=True, timeout=60)
    method, kwargs = deferral_of(ti, before)
    if left == "in the deferral for a reset":
        method = "execute_after_reset"
    resumed = paint(prompt="today's cat", deferrable=method == "execute_complete")
    resumed.render_template_fields(ti.context_of(resumed))
    resumed.resume_execution(method, kwargs, ti.context_of(resumed))
    assert resumed.prompt == "yesterday's cat"
    assert resumed.seed == before.seed
    assert resumed.overwrite_rtif_after_execution
    assert len(sandbox.submissions) == 1


def test_what_resumes_as_it_was_sent_does_not_write_the_rendered_fields_again(
    sandbox: Sandbox, ti: FakeTaskInstance
) -> None:
    method, kwargs = deferral_of(ti, paint(deferrable=True, samples="2"))
    resumed = paint(deferrable=True, samples="2")
    resumed.render_template_fields(ti.context_of(resumed))
    resumed.resume_execution(method, kwargs, ti.context_of(resumed))
    assert not resumed.overwrite_rtif_after_execution


def test_an_ended_deferral_reports_no_seed_that_was_not_sent(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    """It has lost what it carried; the record has a hash of each argument."""
    sandbox.fault("result", times=2, body={"status": "COMPLETED", "output": [f"{sandbox.url}/1.png"]})
    deferral_of(ti, paint(prompt="yesterday's cat", seed=7, deferrable=True))
    resumed = paint(prompt="today's cat", seed=8, deferrable=True)
    resumed.resume_execution("__fail__", {"error": "Trigger failed"}, ti.context_of(resumed))
    assert ti.pushed["generation"]["seed"] is None
    assert resumed.lineage is not None
    assert resumed.lineage.generations[0]["prompt"] is None


@both_ways
def test_why_a_try_has_failed(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    with pytest.raises(JobFailedError) as failure:
        ti.run(paint(prompt="[fail] cat", deferrable=deferrable))
    assert ti.pushed["error"] == {"type": "JobFailedError", "message": str(failure.value)}
    assert "A retry submits it again" in ti.pushed["error"]["message"]

    request_id = ti.pushed["request_id"]
    ti.pushed.clear()
    sensor = KandinskyJobSensor(task_id="paint", dag=DAG("gallery"), request_id=request_id, deferrable=deferrable)
    with pytest.raises(AirflowFailException):
        ti.run(sensor)
    assert ti.pushed["error"]["type"] == "JobFailedError"


def test_a_failed_batch_still_hands_over_what_was_submitted(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(BatchItemsFailedError, match="1 of 3 items have failed"):
        ti.run(paint_all(["[fail] cat", *cats(2)]))
    assert [len(row["urls"]) for row in ti.pushed["return_value"]] == [0, 1, 1]
    assert ti.pushed["error"]["type"] == "BatchItemsFailedError"


def test_an_xcom_backend_that_fails_does_not_mask_the_failure(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push = ti.xcom_push

    def refuse(key: str, value: Any) -> None:
        if key == "error":
            raise OSError("the bucket of the XComs is full")
        push(key, value)

    monkeypatch.setattr(ti, "xcom_push", refuse)
    with caplog.at_level(logging.ERROR), pytest.raises(JobFailedError):
        ti.run(paint(prompt="[fail] cat"))
    assert "Could not push the error to XCom" in caplog.text


@both_ways
@pytest.mark.parametrize("map_index", [-1, 3])
def test_the_link_is_the_same_from_the_deferral_to_the_end(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, map_index: int
) -> None:
    """So that nobody has to read an XCom for it, and the triggerer has none to write."""
    ti.task_id, ti.run_id, ti.map_index = "group.paint", "scheduled__2026-01-01T00:00:00+00:00", map_index
    operator = paint(deferrable=deferrable)
    link = KandinskyImageLink()
    before = link.get_link(operator, ti_key=ti)
    (url,) = ti.run(operator)
    where = "/kandinsky-gallery/dags/gallery/runs/scheduled__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/group.paint"
    redirect = f"{where}/{map_index}/image"
    assert [before, link.get_link(operator, ti_key=ti)] == ([redirect] * 2 if supports_plugin_tabs() else ["", url])


@pytest.mark.skipif(supports_plugin_tabs(), reason="this Airflow has the gallery, which knows what may be shown")
@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("https://images.segmind.com/1.png", "https://images.segmind.com/1.png"),
        ("https://mine.example/1.png", "https://mine.example/1.png"),
        # As it was understood here: a browser takes a backslash for a slash, and would go elsewhere.
        ("https://elsewhere.example\\@mine.example/1.png", "https://mine.example/1.png"),
        ("https://user:word@mine.example/1.png#x", "https://mine.example/1.png"),
        ("s3://bucket/cat.png", ""),
        ("javascript:alert(1)", ""),
        ("https://elsewhere.example/1.png", ""),
        ("http://images.segmind.com/1.png", ""),
        ("https://images.segmind.com@elsewhere.example/1.png", ""),
        ("https://images.segmind.com.elsewhere.example/1.png", ""),
        ("https://[/1.png", ""),
    ],
)
def test_without_a_gallery_the_link_leads_to_an_image_that_may_be_shown(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, uri: str, url: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(image_hosts="mine.example"))
    operator = paint()
    operator.lineage = Lineage(None, None, [], [uri])
    (link,) = operator.operator_extra_links
    assert link.get_link(operator, ti_key=ti) == url


@both_ways
@pytest.mark.parametrize("seed", [2**64, str(2**64), -(2**63) - 1, "9" * 400], ids=["number", "text", "low", "long"])
def test_airflow_can_carry_whatever_the_service_returns(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, seed: Any
) -> None:
    """Its messages from a worker hold no integer beyond 64 bits: the worker would die of it in every try."""
    frame = getattr(import_module("airflow.sdk.execution_time.comms"), "_RequestFrame", None)
    if frame is None:
        pytest.skip("this Airflow sends its messages in another way")
    with pytest.raises(OverflowError):
        frame(id=1, body={"value": 2**64}).as_bytes()
    returned = {
        "seed": seed,
        "metrics": {"cost": 10**400, "inference_time": 2**70},
        "output": f"{sandbox.url}/\0\ud800.png",
    }
    sandbox.fault("result", body=json.dumps({"status": "COMPLETED"} | returned))
    ti.run(paint(seed=7, deferrable=deferrable))
    assert frame(id=1, body={"value": ti.pushed}).as_bytes()
    assert ti.pushed["generation"]["seed"] == 7
