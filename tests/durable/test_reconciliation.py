"""What the request history is asked about submissions, over a socket, by a service that writes times in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.durable.matching import HISTORY_DELAY, Intent
from airflow_provider_kandinsky.durable.outcomes import expired_error
from airflow_provider_kandinsky.durable.policy import History, Step
from airflow_provider_kandinsky.durable.reconciliation import HistoryReconciler
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL

A_CAT = {"prompt": "a cat", "seed": 7}


@pytest.fixture
def hook(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[KandinskyHook]:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())
    kandinsky_sandbox.configure(latency=0)
    with KandinskyHook() as hook:
        yield hook


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(hook: KandinskyHook, clock: Clock) -> HistoryReconciler:
    return HistoryReconciler(hook, DEFAULT_MODEL, clock=clock, sleep=clock.sleep)


def intent(clock: Clock, **more: Any) -> Intent:
    return Intent(**{"payload": A_CAT, "intended_at": clock.now, "send_by": clock.now + 20} | more)


@pytest.mark.parametrize("times", ["zoned", "naive", "date", "epoch"])
@pytest.mark.parametrize("offset", [-8.0, 0.0, 14.0])
@pytest.mark.parametrize("has_own_seed", [False, True])
def test_an_accepted_submission_is_never_taken_for_one_that_was_not(
    kandinsky_sandbox: Sandbox,
    hook: KandinskyHook,
    history: HistoryReconciler,
    clock: Clock,
    times: str,
    offset: float,
    has_own_seed: bool,
) -> None:
    kandinsky_sandbox.configure(history_times=times, history_utc_offset=offset)
    hook.submit(A_CAT)

    (finding,) = history.find([intent(clock, has_own_seed=has_own_seed)])

    if has_own_seed or times == "epoch" or times == "zoned" or (times == "naive" and offset == 0):
        assert finding.history is History.COMPLETED
    else:
        assert finding.history in (History.DOUBTFUL, History.COMPLETED)


def test_a_random_image_without_a_time_is_doubtful(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    kandinsky_sandbox.configure(history_times="none")
    hook.submit(A_CAT | {"seed": -1})
    (finding,) = history.find([intent(clock, payload=A_CAT | {"seed": -1})])
    assert finding.history is History.DOUBTFUL


def test_yesterdays_equal_request_is_another_one(hook: KandinskyHook, history: HistoryReconciler, clock: Clock) -> None:
    hook.submit(A_CAT)
    clock.now += 24 * 3600
    (finding,) = history.find([intent(clock)])
    assert finding.history is History.ABSENT


def test_the_jobs_of_before_are_not_taken_for_this_one(
    hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    first = hook.submit(A_CAT).request_id
    (finding,) = history.find([intent(clock)], known_ids=[first])
    assert finding.history is History.ABSENT
    second = hook.submit(A_CAT).request_id
    (finding,) = history.find([intent(clock)], known_ids=[first])
    assert finding.row is not None
    assert finding.row.request_id == second


def test_what_was_accepted_goes_before_what_failed(
    hook: KandinskyHook, history: HistoryReconciler, clock: Clock, kandinsky_sandbox: Sandbox
) -> None:
    accepted = hook.submit(A_CAT).request_id
    kandinsky_sandbox.configure(jobs_fail=True)
    failed = hook.submit(A_CAT).request_id
    (finding,) = history.find([intent(clock)])
    assert finding.row is not None
    assert finding.row.request_id == accepted
    (finding,) = history.find([intent(clock)], known_ids=[accepted])
    assert finding.row is not None
    assert (finding.history, finding.row.request_id) == (History.FAILED, failed)


def test_absence_counts_from_when_the_post_left(history: HistoryReconciler, clock: Clock) -> None:
    sent_late = intent(clock, intended_at=clock.now - 300, send_by=clock.now, sent_at=clock.now - 1)
    (finding,) = history.resolve([sent_late])
    assert finding.history is History.ABSENT
    assert clock.slept == pytest.approx(HISTORY_DELAY - 1)


def test_of_a_process_that_died_absence_counts_from_when_the_post_can_have_left(
    history: HistoryReconciler, clock: Clock
) -> None:
    history.resolve([intent(clock, intended_at=clock.now - 30, send_by=clock.now + 30)])
    assert clock.slept == pytest.approx(HISTORY_DELAY + 30)


def test_all_images_of_a_job_are_collected_across_pages(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT | {"samples": 8}).request_id
    for number in range(12):  # 96 rows: the job's eight go across the end of the first page
        hook.submit({"prompt": f"dog {number}", "samples": 8})
    finding = history.find_job(job, clock.now, samples=8)
    assert finding.history is History.COMPLETED
    assert finding.row is not None
    assert len(finding.row.images) == 8


def test_fewer_images_than_were_asked_for_are_not_all(
    hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT | {"samples": 4}).request_id
    assert history.find_job(job, clock.now, samples=5).history is History.INCOMPLETE


@pytest.mark.heavy  # hundreds of submissions
def test_a_row_that_is_known_is_used_in_a_busy_account(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT | {"samples": 2}).request_id
    kandinsky_sandbox.configure(history_foreign=20)
    for number in range(190):  # with those of others more than the 5 000 rows that are read
        hook.submit({"prompt": f"dog {number}", "samples": 8})
    finding = history.find_job(job, clock.now, samples=2)
    assert finding.history is History.INCOMPLETE
    assert history.find_job(job, clock.now, samples=1).history is History.COMPLETED


def test_what_was_found_before_the_history_failed_holds(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a group whose responses were lost, one was never accepted: for that one all pages have to be read."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection(retry_timeout=0))
    job = hook.submit(A_CAT).request_id
    (row,) = httpx.get(kandinsky_sandbox.history_url, headers={"x-api-key": DEFAULT_KEY}).json()["data"]
    kandinsky_sandbox.fault("history", status=200, body=[row])
    kandinsky_sandbox.fault("history", status=503)
    with KandinskyHook() as impatient:
        history = HistoryReconciler(impatient, DEFAULT_MODEL, clock=clock, sleep=clock.sleep)
        found, missing = history.find([intent(clock), intent(clock, payload={"prompt": "a dog", "seed": 7})])
    assert found.history is History.COMPLETED
    assert found.row is not None
    assert found.row.request_id == job
    assert missing.history is History.UNREACHABLE


def test_the_rows_of_a_known_job_are_searched_for_in_its_days_alone(
    hook: KandinskyHook, clock: Clock, history: HistoryReconciler, caplog: pytest.LogCaptureFixture
) -> None:
    job = hook.submit(A_CAT | {"samples": 2}).request_id
    caplog.set_level("DEBUG", "httpx")
    assert history.find_job(job, clock.now - 9 * 86_400, samples=2).history is History.COMPLETED
    day = datetime.fromtimestamp(clock.now, UTC).date()
    assert f"from_date={day - timedelta(days=1)}" in caplog.text
    assert f"to_date={day + timedelta(days=1)}" in caplog.text


def test_what_is_not_finished_is_pending(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    kandinsky_sandbox.configure(latency=60)
    job = hook.submit(A_CAT).request_id
    assert history.find_job(job, clock.now, samples=1).history is History.PENDING
    assert history.find_job("nobody", clock.now, samples=1).history is History.ABSENT


def test_another_request_than_was_asked_for_is_not_delivered(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT).request_id
    url = f"{kandinsky_sandbox.url}/generations/other-0.png"
    other = {"request_id": "other", "model_status": "COMPLETED", "request_body": A_CAT, "generation_url": url}
    kandinsky_sandbox.fault("history", status=200, body=other)
    assert history.find_job(job, clock.now, samples=1).history is History.UNREACHABLE


def test_without_a_history_nothing_is_known(
    kandinsky_sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection(history_url=None))
    with KandinskyHook() as hook:
        history = HistoryReconciler(hook, DEFAULT_MODEL, clock=clock, sleep=clock.sleep)
        assert history.find_job("nobody", clock.now, samples=1).history is History.NOT_CONFIGURED
        assert [each.history for each in history.resolve([intent(clock)])] == [History.NOT_CONFIGURED]
    assert clock.slept == 0


def test_a_clock_that_was_ahead_is_not_waited_for(history: HistoryReconciler, clock: Clock) -> None:
    history.resolve([intent(clock, intended_at=clock.now + 3600, send_by=clock.now + 3620)])
    assert clock.slept == pytest.approx(HISTORY_DELAY + 20)


def test_a_history_that_does_not_response_is_not_asked_about_every_job(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT).request_id
    kandinsky_sandbox.fault("history", status=403, times=1_000)
    for _ in range(200):
        finding = history.find_job(job, clock.now, samples=1)
        assert finding.history is History.UNREACHABLE
        error = expired_error(Step.FAIL, finding, job, samples=1)
        assert error.message.count("The service does not know the job") == 1
    assert kandinsky_sandbox.count_calls("history") == 3
    kandinsky_sandbox.clear_faults()
    clock.now += 60
    assert history.find_job(job, clock.now, samples=1).history is History.COMPLETED


def test_one_job_that_cannot_be_asked_about_does_not_hide_the_others(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT).request_id
    for _ in range(5):
        kandinsky_sandbox.fault("history", status=403)
        assert history.find_job(job, clock.now, samples=1).history is History.UNREACHABLE
        assert history.find_job(job, clock.now, samples=1).history is History.COMPLETED


def test_a_slow_history_is_not_read_for_an_hour(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    for number in range(40):  # 320 rows
        hook.submit({"prompt": f"dog {number}", "samples": 8})
    slow = HistoryReconciler(hook, DEFAULT_MODEL, clock=lambda: (clock.sleep(200), clock.now)[1])
    assert slow.find([intent(clock)])[0].history is History.UNREACHABLE
    assert kandinsky_sandbox.count_calls("history") == 2
    assert history.find([intent(clock)])[0].history is History.ABSENT


def test_a_job_has_not_failed_if_one_of_its_images_has(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT | {"samples": 4}).request_id
    failed = {"request_id": job, "model_status": "FAILED", "request_body": A_CAT, "generation_url": None}
    kandinsky_sandbox.fault("history", status=200, body=failed)
    assert history.find_job(job, clock.now, samples=5).history is History.INCOMPLETE
    kandinsky_sandbox.fault("history", status=200, body=failed)
    kandinsky_sandbox.fault("history", status=200, body=[failed] * 4)
    assert history.find_job(job, clock.now, samples=4).history is History.FAILED


def test_one_failed_image_is_no_failed_job_while_the_others_cannot_be_read(
    kandinsky_sandbox: Sandbox, hook: KandinskyHook, history: HistoryReconciler, clock: Clock
) -> None:
    job = hook.submit(A_CAT | {"samples": 2}).request_id
    row = {"request_id": job, "model_status": "FAILED", "request_body": A_CAT | {"samples": 2}}
    kandinsky_sandbox.fault("history", status=200, body=row)
    kandinsky_sandbox.fault("history", status=403)
    assert history.find_job(job, clock.now, samples=2).history is History.UNREACHABLE
