"""What a new try does, for each row of the table in docs/money.md, in the worker and deferred."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.exceptions import LedgerError
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    JobFailedError,
    JobTimeoutError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)

from ..support.task_instance import FakeTaskInstance, MemoryStore, paint

pytestmark = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def give_up_waiting(sandbox: Sandbox, ti: FakeTaskInstance, **arguments: Any) -> str:
    """A first try that submits and then fails, leaving a running job and its id in the ledger."""
    sandbox.configure(latency=60)
    with pytest.raises(JobTimeoutError):
        ti.run(paint(timeout=0.1, **arguments))
    return ti.pushed.pop("request_id")


def lose_the_id(ti: FakeTaskInstance) -> None:
    """As a worker does that dies between the POST and the record."""
    ti.store.values["kandinsky_job"] |= {"request_id": None, "submitted_at": None}
    ti.age(60)


def test_a_running_job_is_taken_up(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    first = give_up_waiting(sandbox, ti, deferrable=deferrable)

    with pytest.raises(JobTimeoutError):
        ti.run(paint(timeout=0.1, deferrable=deferrable))

    assert ti.pushed["request_id"] == first
    assert len(sandbox.submissions) == 1


def test_a_finished_job_is_delivered(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    first = ti.run(paint(deferrable=deferrable))
    assert ti.run(paint(deferrable=deferrable)) == first
    assert len(sandbox.submissions) == 1


def test_a_failed_job_is_submitted_again(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    with pytest.raises(JobFailedError):
        ti.run(paint(prompt="[fail]", deferrable=deferrable))
    first = ti.pushed["request_id"]
    with pytest.raises(JobFailedError):
        ti.run(paint(prompt="[fail]", deferrable=deferrable))

    assert len(sandbox.submissions) == 2
    assert ti.pushed["request_id"] != first


def test_a_blocked_job_is_not_submitted_again(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="blocked"):
            ti.run(paint(prompt="[blocked]", deferrable=deferrable))
    assert len(sandbox.submissions) == 1


def test_an_expired_job_is_found_in_the_history(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    first = ti.run(paint(samples=3, deferrable=deferrable))
    sandbox.configure(expiry=0)

    assert ti.run(paint(samples=3, deferrable=deferrable)) == first
    assert len(first) == 3
    assert len(sandbox.submissions) == 1


def test_a_failure_behind_completed_is_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("result", status=200, body={"status": "FAILED", "error": "out of memory"}, times=2)
    with pytest.raises(JobFailedError):
        ti.run(paint(deferrable=deferrable))

    assert ti.run(paint(deferrable=deferrable))
    assert len(sandbox.submissions) == 2


def test_a_young_job_that_is_not_known_yet_is_not_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    first = give_up_waiting(sandbox, ti, deferrable=deferrable)
    sandbox.fault("status", status=404)

    with pytest.raises(JobTimeoutError):
        ti.run(paint(timeout=0.1, deferrable=deferrable))

    assert ti.pushed["request_id"] == first
    assert len(sandbox.submissions) == 1


def test_an_expired_job_waits_for_a_history_that_is_away(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    first = ti.run(paint(deferrable=deferrable))
    sandbox.configure(expiry=0)
    ti.age(3600)
    sandbox.fault("history", status=503)

    with pytest.raises(ServiceUnavailableError, match=r"does not know the job, and the request history says.*A retry"):
        ti.run(paint(deferrable=deferrable))
    assert ti.run(paint(deferrable=deferrable)) == first
    assert len(sandbox.submissions) == 1


def test_an_expired_id_is_no_use_to_a_sensor(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=0)
    first = ti.run(paint(wait_for_completion=False, deferrable=deferrable))
    assert ti.run(paint(wait_for_completion=False, deferrable=deferrable)) == first
    sandbox.configure(expiry=0)
    assert ti.run(paint(wait_for_completion=False, deferrable=deferrable)) == first
    ti.age(3600)

    assert ti.run(paint(wait_for_completion=False, deferrable=deferrable)) != first
    assert len(sandbox.submissions) == 2


def test_a_seed_that_the_service_does_not_report_is_delivered(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.configure(with_seed=False)
    ti.run(paint(seed="7.0", deferrable=deferrable))
    assert ti.pushed["generation"]["seed"] == 7


def test_an_expired_job_without_an_image_is_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = give_up_waiting(sandbox, ti, deferrable=deferrable)
    sandbox.configure(expiry=0)
    ti.age(3600)
    sandbox.fault("history", status=404, body={"error": "not found"})
    sandbox.fault("history", status=200, body={"data": []})

    with pytest.raises((AirflowFailException, JobTimeoutError)):
        ti.run(paint(timeout=0.1, deferrable=deferrable))

    assert len(sandbox.submissions) == 2
    assert f"does not know request {first}; the request history says: not there" in caplog.text
    assert f"Request {first} of an earlier try gave nothing" in caplog.text


def test_other_arguments_are_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    first = ti.run(paint(deferrable=deferrable))
    second = ti.run(paint(prompt="a dog", samples=1, deferrable=deferrable))

    assert first != second
    assert len(sandbox.submissions) == 2
    assert "prompt, samples has changed since request" in caplog.text


def test_an_intent_found_in_the_history_is_adopted(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    first = ti.run(paint(deferrable=deferrable))
    lose_the_id(ti)

    assert ti.run(paint(deferrable=deferrable)) == first
    assert len(sandbox.submissions) == 1
    assert ti.store.values["kandinsky_job"]["request_id"] == ti.pushed["request_id"]


def test_an_intent_not_in_the_history_is_submitted(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.fault("submit", drop=True)
    with pytest.raises(SubmissionUnknownError):
        ti.run(paint(deferrable=deferrable))
    assert sandbox.submissions == []

    ti.retry()
    assert ti.run(paint(deferrable=deferrable))
    assert len(sandbox.submissions) == 1


def test_a_lost_response_is_found_in_the_history_by_the_same_try(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("submit", drop=True, after=True)
    assert ti.run(paint(deferrable=deferrable))
    assert sandbox.count_calls("submit") == 1


def test_a_lost_response_is_found_in_the_history_by_the_next_try(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.configure(history_lag=0.4)
    sandbox.fault("submit", drop=True, after=True)
    with pytest.raises(SubmissionUnknownError, match="A retry searches the request history"):
        ti.run(paint(deferrable=deferrable))

    sandbox.configure(history_lag=0)
    assert ti.run(paint(deferrable=deferrable))
    assert sandbox.count_calls("submit") == 1


def test_another_tasks_image_is_not_adopted(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    neighbour = FakeTaskInstance()
    neighbour.map_index = 7
    ti.run(paint(deferrable=deferrable))
    lose_the_id(ti)
    neighbour.store.values = ti.store.values

    neighbour.run(paint(deferrable=deferrable))

    assert neighbour.pushed["request_id"] != ti.pushed["request_id"]
    assert len(sandbox.submissions) == 2


@pytest.mark.parametrize(
    ("outage", "failure"),
    [({"status": 503}, SubmissionUnknownError), ({"status": 403}, AirflowFailException), (None, AirflowFailException)],
    ids=["out of order", "forbidden", "not configured"],
)
def test_an_intent_that_the_history_cannot_resolve_fails_or_is_submitted_again_as_asked(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    deferrable: bool,
    outage: dict[str, Any] | None,
    failure: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    ti.run(paint(deferrable=deferrable))
    lose_the_id(ti)
    if outage:
        sandbox.fault("history", times=2, **outage)
    else:
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))

    with pytest.raises(failure, match="may have submitted this, and the request history does not say"):
        ti.run(paint(deferrable=deferrable))
    assert len(sandbox.submissions) == 1

    assert ti.run(paint(deferrable=deferrable, on_unknown_submit="resubmit"))
    assert len(sandbox.submissions) == 2


@pytest.mark.parametrize(("seed", "images"), [(-1, 2), (7, 1), (None, 1)])
def test_a_clear_asks_for_a_new_image_only_of_a_random_seed(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, seed: int | None, images: int
) -> None:
    ti.run(paint(seed=seed, deferrable=deferrable))
    ti.max_tries += 1

    ti.run(paint(seed=seed, deferrable=deferrable))

    assert len(sandbox.submissions) == images


def test_a_retry_of_a_random_seed_takes_the_job_up(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    ti.run(paint(seed=-1, deferrable=deferrable))
    ti.run(paint(seed=-1, deferrable=deferrable))
    assert len(sandbox.submissions) == 1


def test_a_refused_submission_leaves_nothing_in_the_ledger(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("submit", status=401)
    with pytest.raises(AirflowFailException, match="rejected the API key"):
        ti.run(paint(deferrable=deferrable))
    assert ti.store.values == {}


def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    ti.store.values["kandinsky_job"] = {"written": "by another program"}
    with pytest.raises(LedgerError, match="Nothing was submitted"):
        ti.run(paint(deferrable=deferrable))
    assert sandbox.count_calls() == 0


def test_without_durable_every_try_submits(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    ti.run(paint(durable=False, deferrable=deferrable))
    ti.run(paint(durable=False, deferrable=deferrable))
    assert len(sandbox.submissions) == 2
    assert ti.store.values == {}


def test_the_ledger_holds_no_prompt_and_no_key(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    ti.run(paint(prompt="a secret garden", deferrable=deferrable))
    assert "garden" not in str(ti.store.values)
    assert sandbox.api_key not in str(ti.store.values)


def test_a_record_outlives_a_store_that_loses_it(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    class Forgetful(MemoryStore):
        """The API server is away just when the id is to be recorded."""

        def set(self, key: str, value: Any) -> None:
            if value["request_id"] is not None and not sandbox.calls("history"):
                raise ConnectionError
            super().set(key, value)

    ti.store = Forgetful()
    with pytest.raises(ConnectionError):
        ti.run(paint(deferrable=deferrable))

    assert ti.run(paint(deferrable=deferrable))
    assert len(sandbox.submissions) == 1
