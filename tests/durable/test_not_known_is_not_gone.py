"""The service responds with 404, and the history does not know yet, for one image and for many: nothing is submitted
twice, and nothing that was paid for is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import JobExpiredError

from ..support.airflow_names import TaskDeferred
from ..support.running_jobs import keep_running
from ..support.task_instance import QUICK, FakeTaskInstance, fire, paint, paint_all

#: One image, and a batch of one.
OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all([arguments.pop("prompt", "a cat")], **arguments),
}
#: The first 404 ends a wait, as in use the first one after a minute does.
NO_GRACE = replace(QUICK, not_found_grace_period=0)

both = pytest.mark.parametrize("paints", OPERATORS)
both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def urls(result: Any) -> list[str]:
    """Of one image, or of a batch of one."""
    return [url for each in result for url in (each["urls"] if isinstance(each, dict) else [each])]


def failure(ti: FakeTaskInstance, operator: Any) -> str:
    """Run it, and say what it failed with, also where a batch sums up."""
    with pytest.raises(Exception, match=r"\w") as caught:
        ti.run(operator)
    return f"{type(caught.value).__name__}: {caught.value}"


def give_up_waiting(sandbox: Sandbox, ti: FakeTaskInstance, paints: str, **arguments: Any) -> None:
    """A first try that submits and then fails, leaving a running job."""
    sandbox.configure(latency=60)
    assert "JobTimeoutError" in failure(ti, OPERATORS[paints](timeout=0.1, **arguments))
    ti.retry()


@both
@both_ways
@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("on_unknown_submit", ["fail", "resubmit"])
def test_a_404_on_the_first_poll_of_a_retry(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    paints: str,
    deferrable: bool,
    history: bool,
    on_unknown_submit: str,
) -> None:
    if not history:
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    arguments = {"deferrable": deferrable, "on_unknown_submit": on_unknown_submit}
    keep_running(sandbox)
    assert "JobTimeoutError" in failure(ti, OPERATORS[paints](timeout=0.1, **arguments))
    sandbox.clear_faults()
    ti.retry()
    ti.age(20)  # longer than a fresh id may be unknown
    sandbox.fault("status", status=404)

    assert len(urls(ti.run(OPERATORS[paints](**arguments)))) == 1
    assert len(sandbox.submissions) == 1


def forget_the_results(ti: FakeTaskInstance) -> None:
    """As a worker does that dies before it has written them down."""
    for value in ti.store.values.values():
        for record in value if isinstance(value, list) else [value]:
            record.pop("result", None)


@both
def test_an_expired_job_of_several_images_is_delivered_whole(
    sandbox: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    sandbox.configure(latency=0)
    ti.run(OPERATORS[paints](samples=8))
    forget_the_results(ti)
    for number in range(12):  # its eight rows go across the end of a page
        FakeTaskInstance().run(paint(prompt=f"dog {number}", samples=8))
    ti.age(3600)
    sandbox.configure(expiry=0)
    ti.retry()

    assert len(urls(ti.run(OPERATORS[paints](samples=8)))) == 8
    assert len(sandbox.submissions) == 13


@both
def test_an_expired_job_is_not_delivered_in_part(sandbox: Sandbox, ti: FakeTaskInstance, paints: str) -> None:
    sandbox.configure(latency=0)
    ti.run(OPERATORS[paints](samples=2))
    job = sandbox.submissions[0]
    forget_the_results(ti)
    ti.age(3600)
    sandbox.configure(expiry=0)
    ti.retry()
    row = {"request_id": job["request_id"], "model_status": "COMPLETED", "request_body": job["payload"]}
    sandbox.fault("history", status=200, body=row | {"generation_url": f"{sandbox.url}/generations/one.png"})
    sandbox.fault("history", status=200, body=[])

    message = failure(ti, OPERATORS[paints](samples=2))

    assert "IncompleteResultError" in message
    assert "the request history has 1 of its 2 images" in message
    assert "billed: yes" in message
    assert len(sandbox.submissions) == 1
    ti.retry()
    assert len(urls(ti.run(OPERATORS[paints](samples=2)))) == 2
    assert len(sandbox.submissions) == 1


@both
def test_what_is_pending_after_the_hour_is_waited_for(sandbox: Sandbox, ti: FakeTaskInstance, paints: str) -> None:
    give_up_waiting(sandbox, ti, paints)
    ti.age(3600)
    sandbox.configure(expiry=0)

    message = failure(ti, OPERATORS[paints]())

    assert "the request history says that it is not finished" in message
    assert "JobTimeoutError" in message
    assert len(sandbox.submissions) == 1


@both
@pytest.mark.parametrize("on_unknown_submit", ["fail", "resubmit"])
def test_a_404_when_a_worker_fetches_a_finished_job_is_not_a_wait(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    paints: str,
    on_unknown_submit: str,
) -> None:
    """Images that come as bytes do not travel in the trigger's event: the worker asks for them once more."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    arguments = {"base64": True, "output_path": f"file://{tmp_path}", "on_unknown_submit": on_unknown_submit}
    keep_running(sandbox)
    for _ in range(2):  # the job is one of an earlier try
        ti.retry()
        operator = OPERATORS[paints](deferrable=True, **arguments)
        with pytest.raises(TaskDeferred) as deferral:
            operator.execute(ti.context_of(operator))
    sandbox.clear_faults()
    event = fire(deferral.value.trigger)
    sandbox.fault("result", status=404)

    rows = ti.resume(operator, deferral.value.method_name, {"event": event})

    assert urls(rows)[0].endswith(".png")
    assert len(sandbox.submissions) == 1
    assert not ti.store.values.get("kandinsky_job", {}).get("not_found")


@pytest.mark.parametrize("history", [True, False])
def test_a_job_that_is_known_again_has_not_been_waited_for(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, history: bool
) -> None:
    """The first try meets a minute of 404, the second one a running job, the third one a single 404."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    sandbox.configure(latency=60, history_lag=60)
    gone = paint(timeout=10)
    gone.poll_policy = NO_GRACE
    sandbox.fault("status", status=404)
    assert "JobExpiredError" in failure(ti, gone)
    assert ti.store.values["kandinsky_job"]["not_found"]
    ti.retry()
    assert "JobTimeoutError" in failure(ti, paint(timeout=0.2))
    ti.retry()
    if history:
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection())
    sandbox.fault("status", status=404)
    assert "JobTimeoutError" in failure(ti, paint(timeout=0.2, on_unknown_submit="resubmit"))
    assert len(sandbox.submissions) == 1


@both
@pytest.mark.parametrize("shown", ["missing", "stripped", "unreadable"])
def test_a_history_that_tells_the_inputs_in_its_own_way_does_not_say_not_there(
    sandbox: Sandbox, ti: FakeTaskInstance, paints: str, shown: str
) -> None:
    sandbox.fault("submit", drop=True, after=True)
    sandbox.fault("history", status=403, times=2 if paints == "batch" else 1)  # a batch first asks for the price
    failure(ti, OPERATORS[paints]())
    (job,) = sandbox.submissions
    created = datetime.fromtimestamp(job["at"], UTC).isoformat()
    inputs = {"missing": None, "stripped": job["payload"] | {"prompt": "a\u00a0cat"}, "unreadable": "{"}[shown]
    row = {"request_id": job["request_id"], "request_body": inputs, "model_created": created}
    sandbox.fault("history", status=200, body={"data": [row]}, times=10)
    ti.retry()
    ti.age(100)

    assert "the request history does not say: it says: perhaps there" in failure(ti, OPERATORS[paints]())
    assert len(sandbox.submissions) == 1


@both
def test_a_404_of_a_wrong_history_url_does_not_say_not_there(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, paints: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=f"{sandbox.url}/elsewhere"))
    sandbox.configure(latency=60)
    for _ in range(2):
        operator = OPERATORS[paints](timeout=0.2)
        operator.poll_policy = NO_GRACE
        sandbox.fault("status", status=404)
        failure(ti, operator)
        ti.retry()
    assert len(sandbox.submissions) == 1


@both
def test_a_job_that_the_history_has_in_its_list_alone_is_there(
    sandbox: Sandbox, ti: FakeTaskInstance, monkeypatch: pytest.MonkeyPatch, paints: str
) -> None:
    """As that of a team-mate, whose key is not used any more."""
    sandbox.configure(latency=0)
    first = urls(ti.run(OPERATORS[paints]()))
    forget_the_results(ti)
    ti.age(3600)
    ti.retry()
    sandbox.configure(expiry=0)
    sandbox.fault("history", status=404, body={"error": "not found"})
    assert urls(ti.run(OPERATORS[paints]())) == first
    assert len(sandbox.submissions) == 1


@both
def test_a_wait_that_begins_again_in_the_worker_ends_with_the_timeout_of_its_try(
    sandbox: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    """The service does not know the job, and each time the history says that it is not finished."""
    give_up_waiting(sandbox, ti, paints)
    for timeout in (0.8, 5, 30):  # a busy machine needs long for a second wait
        sandbox.fault("status", status=404, times=10_000)
        before = sandbox.count_calls("history")
        began = time.monotonic()
        operator = OPERATORS[paints](timeout=timeout)
        operator.poll_policy = replace(QUICK, not_found_grace_period=0.1)

        assert "JobTimeoutError" in failure(ti, operator)

        assert time.monotonic() - began < max(30, 2 * timeout)  # each poll meets a 404, and would do so for minutes
        if (waits := sandbox.count_calls("history") - before) > 1:
            break
        ti.retry()
    assert waits > 1
    assert len(sandbox.submissions) == 1


@both
def test_a_wait_that_begins_again_in_the_triggerer_keeps_the_deadline_of_its_try(
    sandbox: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    """As above, with the events of triggers that met nothing but 404 for a minute."""
    give_up_waiting(sandbox, ti, paints)
    (job,) = sandbox.submissions
    error = {"error": JobExpiredError("HTTP 404", request_id=job["request_id"]).to_dict()}
    event = {
        "single": {"request_id": job["request_id"], "seed": None} | error,
        "batch": {"outcomes": {job["request_id"]: error}},
    }[paints]
    operator = OPERATORS[paints](deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(ti.context_of(operator))
    deferred = deferral.value
    deadlines = [deadline(deferred.trigger)]
    for _ in range(2):
        before = sandbox.count_calls("history")
        kwargs = (deferred.kwargs or {}) | {"event": event}
        with pytest.raises(TaskDeferred) as deferral:
            operator.resume_execution(deferred.method_name, kwargs, ti.context_of(operator))
        deferred = deferral.value
        deadlines.append(deadline(deferred.trigger))
        assert sandbox.count_calls("history") > before
    assert deadlines == pytest.approx([deadlines[0]] * 3, abs=0.01)
    assert len(sandbox.submissions) == 1


def deadline(trigger: Any) -> float:
    """Of one image's trigger, or of a batch's of one."""
    kwargs = trigger.serialize()[1]
    return float(kwargs["deadline"] if "deadline" in kwargs else kwargs["jobs"][0]["deadline"])


@both
def test_when_a_submission_was_sent_is_written_down(sandbox: Sandbox, ti: FakeTaskInstance, paints: str) -> None:
    """A retry that finds nothing in the history waits from then on, and not from when the submission was to be sent."""
    sandbox.fault("submit", drop=True)
    failure(ti, OPERATORS[paints]())
    records = [each for value in ti.store.values.values() for each in (value if isinstance(value, list) else [value])]
    (record,) = [each for each in records if each.get("intended_at")]
    assert record["intended_at"] <= record["sent_at"] <= time.time()
    assert record["sent_at"] < record["send_by"]
