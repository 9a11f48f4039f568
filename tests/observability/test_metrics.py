"""Every job, dollar and failure is counted once, by Airflow's own client and over a socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.compat.airflow import task_stats
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from ..support.airflow_names import TaskDeferred
from ..support.running_jobs import keep_running
from ..support.statsd_server import StatsdSocket
from ..support.task_instance import FakeTaskInstance, another_run, paint, paint_all

ONE_JOB = {
    "kandinsky.submitted": 1, "kandinsky.completed": 1, "kandinsky.cost": 0.01,
    "kandinsky.inference_time": 1, "kandinsky.queue_time": 1,
}  # fmt: skip

each_way = pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])


def put_in_place(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Airflow emit its metrics to a client, as in the process of a task."""
    stats = task_stats()
    if type(stats) is type:
        monkeypatch.setattr(sys.modules[stats.incr.__module__], "_backend", client)
    else:  # before Airflow 3.3
        monkeypatch.setattr(stats, "instance", client)
        monkeypatch.setattr(stats, "_instance_pid", os.getpid(), raising=False)


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdSocket]:
    """Where this process emits its metrics, through Airflow's own client."""
    server = StatsdSocket()
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    try:
        client = import_module("airflow.sdk.observability.metrics.statsd_logger").get_statsd_logger()
    except ImportError:  # before Airflow 3.2
        client = import_module("airflow.metrics.statsd_logger").get_statsd_logger(None)
    put_in_place(client, monkeypatch)
    yield server
    server.close()


def without_polls(sums: dict[str, float]) -> dict[str, float]:
    """Without what depends on when a poll or a sweep finds a job; one test counts the polls."""
    sums.pop("kandinsky.polls", None)
    return sums


def fail(ti: FakeTaskInstance, task: Any) -> None:
    with pytest.raises(Exception) as caught:
        ti.run(task)
    assert isinstance(caught.value.__cause__ or caught.value, KandinskyError)


@each_way
def test_one_job(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket, deferrable: bool) -> None:
    ti.run(paint(deferrable=deferrable))
    assert without_polls(statsd.sums()) == ONE_JOB


@each_way
@pytest.mark.parametrize("make", [paint, lambda **arguments: paint_all(["a cat"], **arguments)])
def test_what_is_reused_is_counted_as_that(
    sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket, tmp_path: Path, deferrable: bool, make: Any
) -> None:
    arguments = {"output_path": f"file://{tmp_path}/{{request_id}}.{{extension}}", "reuse": True}
    ti.run(make(deferrable=deferrable, **arguments))
    assert without_polls(statsd.sums()) == ONE_JOB
    another_run().run(make(deferrable=deferrable, **arguments))
    assert without_polls(statsd.sums()) == {"kandinsky.reused": 1}


def test_the_metrics_of_a_job(ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    result = GenerationResult(
        "r-1", (Image("https://i/1"),), cost=0.0123, inference_time=13.06, queue_time=0.5, polls=7
    )
    JobMetrics.of_task(ti, "m").completed(result)
    received = statsd.received()
    assert {each.name: (each.value, each.kind) for each in received} == {
        "kandinsky.completed": (1, "c"),
        "kandinsky.cost": (0.0123, "c"),
        "kandinsky.polls": (7, "c"),
        "kandinsky.inference_time": (13060, "ms"),
        "kandinsky.queue_time": (500, "ms"),
    }
    assert all(each.tags == {"dag_id": "gallery", "task_id": "paint", "model": "m"} for each in received)


def test_what_is_not_known_is_not_emitted(ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    JobMetrics.of_task(ti).completed(GenerationResult("r-1", (Image("https://i/1"),)))
    (completed,) = statsd.received()
    assert completed.tags == {"dag_id": "gallery", "task_id": "paint"}


@pytest.mark.parametrize("legacy_names", [True, False])
def test_what_distinguishes_is_a_tag_and_in_a_legacy_name(
    ti: FakeTaskInstance, statsd: StatsdSocket, monkeypatch: pytest.MonkeyPatch, legacy_names: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", str(legacy_names))
    JobMetrics.of_task(ti, "m").failed(KandinskyError("it broke"))
    tagged, *legacy = statsd.received()
    assert (tagged.name, tagged.tags["error_type"]) == ("kandinsky.failed", "KandinskyError")
    assert [(each.name, each.tags.keys()) for each in legacy] == [
        ("kandinsky.failed.KandinskyError", {"dag_id", "task_id", "model"})
    ] * legacy_names


def test_a_client_that_breaks_breaks_no_task(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, method: str) -> Callable[..., None]:
            return self.emit

        def emit(self, name: str, *_: Any, **__: Any) -> None:
            if name.startswith("kandinsky"):  # Airflow emits metrics of its own
                raise RuntimeError("no metrics today")

    put_in_place(Broken(), monkeypatch)
    assert len(ti.run(paint())) == 1
    assert "Could not emit metric kandinsky.submitted" in caplog.text


ODD = [1e14, 1e308, float("nan"), float("inf"), -1, 10**5000, "much", "1e400", True, [1], {"a": 1}, b"1"]


@pytest.mark.parametrize("field", ["cost", "inference_time", "queue_time", "polls"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20] if not isinstance(value, int) else "int")
def test_no_number_breaks_a_task(ti: FakeTaskInstance, statsd: StatsdSocket, field: str, value: Any) -> None:
    result = GenerationResult.from_dict({"request_id": "r-1", "urls": ["https://i/1"], field: value})
    JobMetrics.of_task(ti, "m").completed(result)
    assert statsd.sums()["kandinsky.completed"] == 1


def test_a_broken_setting_breaks_no_task(
    ti: FakeTaskInstance, statsd: StatsdSocket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", "perhaps")
    JobMetrics.of_task(ti).failed(KandinskyError("it broke"))
    assert "Could not emit metric kandinsky.failed" in caplog.text


def test_metrics_that_cannot_be_had_break_no_task(ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture) -> None:
    def no_stats() -> Any:
        raise ImportError("no metrics today")

    JobMetrics(no_stats, ti, None).completed(GenerationResult("r-1", (), cost=1.0))
    assert "Could not emit metric kandinsky.cost" in caplog.text


@each_way
def test_a_result_beyond_all_clocks_is_delivered(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    metrics = {"inference_time": 1e14, "cost": -5, "queue_time": "1e300"}
    sandbox.fault("result", body={"status": "COMPLETED", "output": f"{sandbox.url}/1.png", "metrics": metrics})
    assert ti.run(paint(deferrable=deferrable)) == [f"{sandbox.url}/1.png"]
    assert {ti.pushed["generation"][name] for name in metrics} == {None}


@each_way
def test_a_failed_job(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket, deferrable: bool) -> None:
    fail(ti, paint(prompt="[blocked]", deferrable=deferrable))
    assert statsd.sums() == {
        "kandinsky.submitted": 1, "kandinsky.failed": 1, "kandinsky.failed.ContentBlockedError": 1,
    }  # fmt: skip


def test_a_retry_takes_the_job_up(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    keep_running(sandbox)
    fail(ti, paint(timeout=0.1))
    sandbox.clear_faults()
    ti.retry()
    ti.run(paint())
    assert without_polls(statsd.sums()) == ONE_JOB | {
        "kandinsky.failed": 1, "kandinsky.failed.JobTimeoutError": 1,
        "kandinsky.reattached": 1, "kandinsky.reattached.ledger": 1,
    }  # fmt: skip


def test_a_lost_response_is_found_in_the_history(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    sandbox.fault("submit", after=True, drop=True)
    ti.run(paint())
    assert without_polls(statsd.sums()) == ONE_JOB | {"kandinsky.reattached": 1, "kandinsky.reattached.history": 1}


def test_a_clear_pays_nothing(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    ti.run(paint())
    statsd.received()
    ti.clear()
    assert len(ti.run(paint())) == 1
    assert statsd.sums() == {"kandinsky.reattached": 1, "kandinsky.reattached.ledger": 1}


@pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferrable"])
def test_a_sensor_goes_on_where_the_submission_ended(
    sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket, deferrable: bool
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    assert statsd.sums() == {"kandinsky.submitted": 1}
    sensor = KandinskyJobSensor(
        task_id="wait", dag=DAG("gallery"), request_id=request_id, poke_interval=0.05, deferrable=deferrable
    )
    ti.run(sensor)
    sums = statsd.sums()
    assert sums["kandinsky.polls"] == sandbox.count_calls("status", request_id)
    assert without_polls(sums) | {"kandinsky.submitted": 1} == ONE_JOB


def test_a_sensor_fails(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    request_id = ti.run(paint(prompt="[blocked]", wait_for_completion=False))
    statsd.received()
    fail(ti, KandinskyJobSensor(task_id="wait", request_id=request_id, poke_interval=0.05))
    assert without_polls(statsd.sums()) == {"kandinsky.failed": 1, "kandinsky.failed.ContentBlockedError": 1}


@each_way
def test_a_batch_counts_its_items(
    sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket, deferrable: bool
) -> None:
    fail(ti, paint_all(["a cat", "a dog", "[blocked]"], deferrable=deferrable))
    assert without_polls(statsd.sums()) == {
        "kandinsky.submitted": 3, "kandinsky.completed": 2, "kandinsky.cost": 0.02,
        "kandinsky.inference_time": 2, "kandinsky.queue_time": 2,
        "kandinsky.failed": 1, "kandinsky.failed.ContentBlockedError": 1,
    }  # fmt: skip


def test_a_batch_counts_nothing_twice(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    keep_running(sandbox)
    fail(ti, paint_all(["a cat", "a dog"], timeout=0.1))
    sandbox.clear_faults()
    ti.retry()
    ti.run(paint_all(["a cat", "a dog"]))
    assert without_polls(statsd.sums()) == {name: 2 * value for name, value in ONE_JOB.items()} | {
        "kandinsky.failed": 2, "kandinsky.failed.JobTimeoutError": 2,
        "kandinsky.reattached": 2, "kandinsky.reattached.ledger": 2,
    }  # fmt: skip
    ti.clear()
    ti.run(paint_all(["a cat", "a dog"]))
    assert statsd.sums() == {}


def test_items_that_were_left_out_have_failed(sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket) -> None:
    fail(ti, paint_all(["a cat", "a dog", "a newt"], max_in_flight=1, max_cost=0.015))
    sums = statsd.sums()
    assert (sums["kandinsky.submitted"], sums["kandinsky.failed.CostLimitError"]) == (2, 1)


def test_a_deferral_until_the_limit_resets_is_no_failure(
    sandbox: Sandbox, ti: FakeTaskInstance, statsd: StatsdSocket
) -> None:
    sandbox.fault("submit", status=429, headers={"retry-after": "60"}, times=99)
    with pytest.raises(TaskDeferred):
        paint(deferrable=True).execute(ti.context)
    assert statsd.sums() == {}
