"""The table of money, row by row."""

from __future__ import annotations

from typing import get_args

import pytest

from airflow_provider_kandinsky.durable.policy import (
    History,
    OnUnknownSubmit,
    Step,
    after_lost_response,
    after_not_found,
    after_retry_or_clear,
)
from airflow_provider_kandinsky.durable.records import JobRecord
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME, RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import BadRequestError

YOUNG, EXPIRED, OLD = 5.0, RECORD_LIFETIME, IMAGE_LIFETIME + 1


@pytest.mark.parametrize(
    ("history", "fail", "resubmit"),
    [
        (History.COMPLETED, Step.REATTACH, Step.REATTACH),
        (History.INCOMPLETE, Step.REATTACH, Step.REATTACH),
        (History.EMPTY, Step.REATTACH, Step.REATTACH),
        (History.PENDING, Step.REATTACH, Step.REATTACH),
        (History.FAILED, Step.SUBMIT, Step.SUBMIT),
        (History.ABSENT, Step.SUBMIT, Step.SUBMIT),
        (History.DOUBTFUL, Step.FAIL, Step.SUBMIT),
        (History.UNREACHABLE, Step.FAIL, Step.SUBMIT),
        (History.NOT_CONFIGURED, Step.FAIL, Step.SUBMIT),
    ],
)
def test_after_a_lost_response(history: History, fail: Step, resubmit: Step) -> None:
    assert after_lost_response(history, "fail") is fail
    assert after_lost_response(history, "resubmit") is resubmit


@pytest.mark.parametrize("way", get_args(OnUnknownSubmit))
@pytest.mark.parametrize("history", History)
def test_after_a_clear_without_a_record_nothing_but_the_history_can_stop_a_submission(
    history: History, way: OnUnknownSubmit
) -> None:
    step = after_lost_response(history, way, is_presumed=True)
    assert step is (
        Step.SUBMIT if history is History.NOT_CONFIGURED else after_lost_response(history, way, is_presumed=False)
    )


@pytest.mark.parametrize("on_unknown_submit", ["fail", "resubmit"])
@pytest.mark.parametrize("history", [each for each in History if each is not History.FAILED])
def test_within_the_hour_a_first_404_never_submits(history: History, on_unknown_submit: str) -> None:
    step = after_not_found(history, YOUNG, on_unknown_submit, has_waited=False)  # type: ignore[arg-type]  # a literal
    assert step is (Step.DELIVER if history is History.COMPLETED else Step.REATTACH)


@pytest.mark.parametrize(
    ("history", "fail", "resubmit"),
    [
        (History.COMPLETED, Step.DELIVER, Step.DELIVER),
        (History.INCOMPLETE, Step.REATTACH, Step.REATTACH),
        (History.EMPTY, Step.REATTACH, Step.REATTACH),
        (History.PENDING, Step.REATTACH, Step.REATTACH),
        (History.FAILED, Step.SUBMIT, Step.SUBMIT),
        (History.ABSENT, Step.SUBMIT, Step.SUBMIT),
        (History.UNREACHABLE, Step.FAIL, Step.SUBMIT),
        (History.NOT_CONFIGURED, Step.FAIL, Step.SUBMIT),
    ],
)
def test_within_the_hour_after_a_minute_of_404(history: History, fail: Step, resubmit: Step) -> None:
    assert after_not_found(history, YOUNG, "fail", has_waited=True) is fail
    assert after_not_found(history, YOUNG, "resubmit", has_waited=True) is resubmit


@pytest.mark.parametrize("has_waited", [False, True])
@pytest.mark.parametrize(
    ("history", "fail", "resubmit"),
    [
        (History.COMPLETED, Step.DELIVER, Step.DELIVER),
        (History.INCOMPLETE, Step.INCOMPLETE, Step.INCOMPLETE),
        (History.EMPTY, Step.SUBMIT, Step.SUBMIT),
        (History.PENDING, Step.WAIT, Step.WAIT),
        (History.FAILED, Step.SUBMIT, Step.SUBMIT),
        (History.ABSENT, Step.SUBMIT, Step.SUBMIT),
        (History.UNREACHABLE, Step.FAIL, Step.SUBMIT),
        (History.NOT_CONFIGURED, Step.SUBMIT, Step.SUBMIT),
    ],
)
def test_after_the_hour(history: History, fail: Step, resubmit: Step, has_waited: bool) -> None:
    assert after_not_found(history, EXPIRED, "fail", has_waited=has_waited) is fail
    assert after_not_found(history, EXPIRED, "resubmit", has_waited=has_waited) is resubmit


@pytest.mark.parametrize("history", [History.COMPLETED, History.INCOMPLETE])
def test_after_a_week_its_images_are_gone(history: History) -> None:
    assert after_not_found(history, OLD, "fail", has_waited=False) is Step.SUBMIT


@pytest.mark.parametrize("history", [History.COMPLETED, History.INCOMPLETE, History.EMPTY])
def test_an_expired_id_alone_is_of_no_use(history: History) -> None:
    assert after_not_found(history, YOUNG, "fail", has_waited=False, id_only=True) is Step.REATTACH
    assert after_not_found(history, EXPIRED, "fail", has_waited=False, id_only=True) is Step.SUBMIT


@pytest.mark.parametrize("is_random", [False, True])
def test_a_retry_reattaches(is_random: bool) -> None:
    record = JobRecord("a cat", 1, 2, intended_at=1.0, request_id="r-1")
    assert after_retry_or_clear(record, 2, 2, is_random=is_random) is record


def test_a_clear_reattaches_unless_another_image_is_wanted() -> None:
    record = JobRecord("a cat", 1, 2, intended_at=1.0, request_id="r-1")
    assert after_retry_or_clear(record, 3, 4) is record
    assert after_retry_or_clear(record, 3, 4, is_random=True) is None


def test_a_clear_cures_what_a_retry_does_not() -> None:
    refused = JobRecord("a cat", 1, 2, error=BadRequestError("Refused").to_dict())
    assert after_retry_or_clear(refused, 2, 2) is refused
    assert after_retry_or_clear(refused, 2, 4) is None
