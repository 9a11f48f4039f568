"""When a batch hands over what is finished, in virtual time."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.segmind.errors import JobFailedError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image
from airflow_provider_kandinsky.triggers.hand_over import (
    DEFERRED_RULE,
    LAST_RULE,
    WORKER_RULE,
    HandOverRule,
    JobPolls,
    OutcomesById,
    PendingJob,
)

from ..segmind.virtual_time import T0, run

#: Jobs that end from second 2 to second 6, as many as are usual.
USUAL = {f"r{number}": 2 + 4 * number / 199 for number in range(200)}


class Jobs:
    """Jobs that take so many seconds, and those who wait for them."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._now = asyncio.get_running_loop().time
        self._ends = {request_id: self._now() + each for request_id, each in seconds.items()}
        self.all = [PendingJob(request_id, T0, math.inf) for request_id in seconds]
        self.begun: list[str] = []
        self.polls = JobPolls(self._poll, lambda: T0 + self._now())

    async def _poll(self, job: PendingJob) -> GenerationResult:
        self.begun.append(job.request_id)
        await asyncio.sleep(self._ends[job.request_id] - self._now())
        if job.request_id.startswith("failed"):
            raise JobFailedError("The job failed")
        return GenerationResult(job.request_id, (Image(url="http://localhost/a.png"),))


def first_hand_over(seconds: Mapping[str, float], rule: HandOverRule | None) -> tuple[OutcomesById, float]:
    """What is handed over, and after how many seconds."""

    async def wait() -> tuple[OutcomesById, float]:
        jobs = Jobs(seconds)
        outcomes = await jobs.polls.collect(jobs.all, rule)
        passed = asyncio.get_running_loop().time()
        await jobs.polls.aclose()
        return outcomes, passed

    return run(wait())


@pytest.mark.parametrize("rule", [None, LAST_RULE, DEFERRED_RULE])
def test_without_stragglers_all_are_handed_over_together(rule: HandOverRule | None) -> None:
    outcomes, passed = first_hand_over(USUAL, rule)
    assert set(outcomes) == set(USUAL)
    assert passed == pytest.approx(6, abs=0.1)


def test_a_straggler_holds_none_of_the_others() -> None:
    outcomes, passed = first_hand_over(USUAL | {"r0": 600.0}, DEFERRED_RULE)
    assert set(outcomes) == set(USUAL) - {"r0"}
    assert passed < 9


def test_the_last_jobs_are_waited_for_if_they_come_as_those_before() -> None:
    """Half of the time is idle before all are over, but a hand-over for the last few would cost more."""
    seconds = {f"r{number}": 40 * (number / 199) ** 2 for number in range(200)}
    assert len(first_hand_over(seconds, replace(DEFERRED_RULE, min_rest=0.0))[0]) < 190
    assert len(first_hand_over(seconds, replace(DEFERRED_RULE, min_rest=0.9))[0]) == 200


def test_no_place_is_idle_for_longer_than_a_minute() -> None:
    outcomes, passed = first_hand_over({"r0": 5.0, "r1": 3000.0}, DEFERRED_RULE)
    assert set(outcomes) == {"r0"}
    assert passed == pytest.approx(5 + 2 * 60, abs=0.1)


@pytest.mark.parametrize("rule", [LAST_RULE, DEFERRED_RULE])
def test_what_is_finished_is_handed_over_after_ten_minutes(rule: HandOverRule) -> None:
    """Of a hundred places one is idle: that is no reason."""
    outcomes, passed = first_hand_over({"r0": 5.0, **{f"s{number}": 3000.0 for number in range(199)}}, rule)
    assert set(outcomes) == {"r0"}
    assert passed == pytest.approx(605, abs=0.1)


def test_nothing_is_handed_over_before_anything_is_finished() -> None:
    assert first_hand_over({"r0": 3000.0, "r1": 3500.0}, LAST_RULE)[1] == pytest.approx(3500, abs=0.1)


def test_a_refused_submission_does_not_wait_for_a_straggler() -> None:
    outcomes, passed = first_hand_over({"r0": 3000.0}, replace(DEFERRED_RULE, wake_at=T0 + 70))
    assert outcomes == {}
    assert passed == pytest.approx(70, abs=0.1)


def test_a_time_to_wake_that_has_passed_is_no_wait() -> None:
    assert first_hand_over({"r0": 3000.0}, replace(DEFERRED_RULE, wake_at=T0 - 5))[1] < 0.1


def test_an_error_is_an_outcome_as_any_other() -> None:
    outcomes, _ = first_hand_over({"failed": 1.0, "r0": 1.0}, LAST_RULE)
    assert outcomes["failed"]["error"]["type"] == "JobFailedError"
    assert outcomes["r0"]["result"]["urls"]


def test_in_a_worker_jobs_are_polled_on_while_it_submits_and_each_is_handed_over_once() -> None:
    async def window() -> None:
        jobs = Jobs(USUAL)
        rule = HandOverRule(idle_share=0.1)
        first = await jobs.polls.collect(jobs.all, rule)
        assert 20 <= len(first) < 100
        await asyncio.sleep(1)  # it submits
        rest = [job for job in jobs.all if job.request_id not in first]
        second = await jobs.polls.collect(rest, rule)
        assert len(second) >= 40
        third = await jobs.polls.collect([job for job in rest if job.request_id not in second], None)
        assert sorted([*first, *second, *third]) == sorted(USUAL)
        assert sorted(jobs.begun) == sorted(USUAL)

    run(window())


@pytest.mark.parametrize(
    "rule", [LAST_RULE, DEFERRED_RULE, WORKER_RULE, HandOverRule(wake_at=5.0), HandOverRule(0.5, 1.0, 0.1, 2.0)]
)
def test_a_rule_travels_in_a_triggers_row(rule: HandOverRule) -> None:
    written = json.dumps(rule.to_dict(), allow_nan=False)
    assert from_stored(HandOverRule, json.loads(written) | {"of_a_later_version": 1}) == rule
