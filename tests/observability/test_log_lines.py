"""One line in the log for each change of state, and none for a poll without news."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger

from ..support.task_instance import FakeTaskInstance, fire, paint, paint_all

ID = r"[0-9a-f-]{36}"
SUBMITTED = rf"Submitted to kandinsky2\.1-txt2im, 1 image\(s\) with seed \d+: request {ID}"
COMPLETED = rf"Request {ID} completed: 1 image\(s\), cost \$0\.01, at http\S+\.png"


#: A line as structlog prints it: those of operators and triggers do not go through the standard library.
PRINTED = re.compile(r"^\S+ \[(?:info|warning) *\] (.+?) +\[(?:airflow\.task|airflow_provider)[\w.]+\]", re.MULTILINE)
LOGGERS = ("airflow.task", "airflow_provider_kandinsky", "httpx", "httpcore")
#: What Airflow says of a task, some of it where one runs without it, and httpx of the test's own questions.
OTHERS = re.compile(r"outside of the Task Runner|Success criteria met|Connection Retrieved|HTTP Request: .*/_sandbox/")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What was logged at INFO and above."""
    caplog.set_level(logging.INFO)

    def read() -> list[str]:
        logged = [record.getMessage() for record in caplog.records if record.name.startswith(LOGGERS)]
        printed = [line for line in PRINTED.findall(capfd.readouterr().out) if line not in logged]
        return [line for line in logged + printed if not OTHERS.search(line)]

    return read


def expect(lines: list[str], *patterns: str) -> None:
    """As many lines as patterns, and one for each."""
    assert len(lines) == len(patterns), lines
    for pattern in patterns:
        line = next((each for each in lines if re.fullmatch(pattern, each)), None)
        assert line is not None, (pattern, lines)
        lines.remove(line)


@pytest.mark.parametrize(
    ("deferrable", "waiting"),
    [
        (False, rf"Waiting for request {ID} here, for 900 s at most"),
        (True, rf"Waiting for request {ID}, for 900 s at most"),
    ],
    ids=["blocking", "deferrable"],
)
def test_a_slow_job_has_three_lines(
    sandbox: Sandbox, ti: FakeTaskInstance, lines: Callable[[], list[str]], deferrable: bool, waiting: str
) -> None:
    sandbox.fault("status", body={"status": "PROCESSING"}, times=5)
    ti.run(paint(deferrable=deferrable))
    assert sandbox.count_calls("status") > 5
    expect(lines(), SUBMITTED, waiting, COMPLETED)


def test_a_sensor_that_pokes_has_two(sandbox: Sandbox, ti: FakeTaskInstance, lines: Callable[[], list[str]]) -> None:
    sandbox.fault("status", body={"status": "PROCESSING"}, times=5)
    request_id = ti.run(paint(wait_for_completion=False))
    ti.run(KandinskyJobSensor(task_id="wait", dag=DAG("gallery"), request_id=request_id, poke_interval=0.05))
    assert sandbox.count_calls("status") > 5
    expect(lines(), SUBMITTED, rf"Waiting for request {ID} here, for \d+ s at most", COMPLETED)


def test_an_error_that_lasts_is_logged_once(
    sandbox: Sandbox, ti: FakeTaskInstance, lines: Callable[[], list[str]]
) -> None:
    request_id = ti.run(paint(wait_for_completion=False))
    sandbox.fault("status", status=503, body={"error": "down"}, times=5)
    ti.run(KandinskyJobSensor(task_id="wait", dag=DAG("gallery"), request_id=request_id, poke_interval=0.05))
    assert len([line for line in lines() if line.startswith("Polling again later")]) == 1


@pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferrable"])
def test_a_batch_has_lines_for_its_waves(
    sandbox: Sandbox, ti: FakeTaskInstance, lines: Callable[[], list[str]], deferrable: bool, tmp_path: Path
) -> None:
    sandbox.configure(latency=0.3)
    arguments: dict[str, Any] = {"output_path": f"file://{tmp_path}", "deferrable": deferrable}
    ti.run(paint_all(["a cat", "a dog", "a newt"], max_in_flight=2, **arguments))

    def wave(jobs: int) -> list[str]:
        waiting = [f"Waiting for {jobs} requests of a batch"] * deferrable
        return [rf"{jobs} jobs are in flight\. .+", *waiting, rf"{jobs} jobs are over\. .+"]

    expect(
        lines(),
        "Quote: 3 items, 0 reused, 3 to submit, price unknown, total: unknown",
        *wave(2),
        *wave(1),
        r"3 of 3 items are done, 0 have failed; cost: \$0\.03",
        r"Wrote the manifest to file://.+\.jsonl",
    )


def test_a_trigger_that_starts_after_its_deadline_waits_for_no_time(
    sandbox: Sandbox, lines: Callable[[], list[str]]
) -> None:
    fire(KandinskyJobTrigger("r-1", deadline=1.0))
    assert "Waiting for request r-1, for 0 s at most" in lines()
