"""What finished jobs tell of when to look at the next ones."""

from __future__ import annotations

import random
from statistics import mean, median

import pytest

from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus
from airflow_provider_kandinsky.segmind.waiting.completion_times import CompletionTimes, completion_times
from airflow_provider_kandinsky.segmind.waiting.poller import LONGEST_INTERVAL, JobPoller

T0 = 1_700_000_000.0


def seen(*times: float) -> CompletionTimes:
    known = CompletionTimes()
    for each in times:
        known.add(each)
    return known


def wait_for(
    took: float, known: CompletionTimes, rng: random.Random, *, told: float | None = None
) -> tuple[float, int]:
    """Follow a job to its end.

    :param told: the completion time that the service tells.
    :return: for how long its completion went unnoticed, and how many polls that took.
    """
    job = JobPoller("r", submitted_at=T0, deadline=T0 + 5000, completion_times=known, rng=rng.random)
    now, polls = T0 + job.start(T0), 1
    while now < T0 + took:
        now += job.on_status(JobStatus.PROCESSING, now)
        polls += 1
        assert polls < 1000
    job.on_status(JobStatus.COMPLETED, now)
    job.on_result(GenerationResult("r", (Image("https://images.segmind.com/cat.png"),), total_time=told))
    return now - T0 - took, polls


@pytest.mark.parametrize("phase", [0.0, 0.5, 0.999])
def test_looks_are_planned_where_jobs_were_finished(phase: float) -> None:
    known = seen(*range(10, 21))
    polls, age = [], 0.0
    while (planned := known.next_look(age, phase)) is not None:
        polls.append(age := planned)
        assert len(polls) < 50
    assert polls == sorted(set(polls))
    assert 10 < polls[0] < 12
    assert 20 < polls[-1] < 20.1, "there is a look after the longest of them"
    assert len(polls) in (10, 11)


def test_a_few_jobs_tell_nothing() -> None:
    assert seen(*range(9)).next_look(0.0, 0.5) is None
    assert seen(*range(10)).next_look(0.0, 0.5) is not None


def test_what_was_long_ago_is_forgotten() -> None:
    known = seen(*[500.0] * 50, *[10.0] * 100)
    assert known.next_look(11.0, 0.9) is None
    assert seen(500.0, *[10.0] * 99).next_look(11.0, 0.9) == 500.05, "it is among the latest hundred"


def test_each_model_and_service_has_its_own() -> None:
    for _ in range(10):
        completion_times("https://a", "m").add(3.0)
    assert completion_times("https://a", "m").next_look(0.0, 0.5) is not None
    assert completion_times("https://a", "n").next_look(0.0, 0.5) is None
    assert completion_times("https://b", "m").next_look(0.0, 0.5) is None


@pytest.mark.parametrize("is_told", [True, False], ids=["told by the service", "estimated"])
def test_jobs_of_a_kind_are_noticed_soon_with_few_looks(is_told: bool) -> None:
    rng, known = random.Random(1), CompletionTimes()

    def wait(took: float) -> tuple[float, int]:
        return wait_for(took, known, rng, told=took if is_told else None)

    cold = [wait(rng.uniform(28, 32)) for _ in range(10)]
    learned = [wait(rng.uniform(28, 32)) for _ in range(200)][20:]
    assert mean(polls for _, polls in cold) > 15
    assert mean(polls for _, polls in learned) < 8
    assert median(late for late, _ in learned) < 0.5 < median(late for late, _ in cold)


def test_a_service_that_has_become_faster_is_noticed() -> None:
    rng, known = random.Random(2), seen(*[60.0] * 100)
    late = [wait_for(20.0, known, rng)[0] for _ in range(200)]
    assert late[0] <= LONGEST_INTERVAL
    assert median(late[-20:]) < 1.5


def test_no_wait_is_longer_because_jobs_took_long() -> None:
    known, rng = seen(*[600.0] * 50), random.Random(3)
    job = JobPoller("r", submitted_at=T0, deadline=T0 + 5000, completion_times=known, rng=rng.random)
    now = T0 + job.start(T0)
    assert now - T0 <= LONGEST_INTERVAL
    polls = 1
    while now < T0 + 600:
        wait = job.on_status(JobStatus.PROCESSING, now)
        assert wait <= LONGEST_INTERVAL
        now += wait
        polls += 1
        assert polls <= 50


def test_a_time_that_cannot_be_true_is_not_believed() -> None:
    """Clocks differ, and nobody has promised what the service's number means."""
    for told in (0.0, 4000.0):
        known = CompletionTimes()
        for seed in range(10):
            wait_for(10.0, known, random.Random(seed), told=told)
        assert 8 < (known.next_look(0.0, 0.5) or 0) < 13


def test_a_fixed_interval_is_kept() -> None:
    job = JobPoller("r", submitted_at=T0, deadline=T0 + 99, poll_interval=7.0, completion_times=seen(*[3.0] * 10))
    assert job.start(T0) == 7.0
    assert job.on_status(JobStatus.PROCESSING, T0 + 7) == 7.0


def test_a_job_that_is_taken_up_late_is_looked_at_at_once_if_it_may_be_finished() -> None:
    job = JobPoller("r", submitted_at=T0, deadline=T0 + 99, completion_times=seen(*range(2, 12)), rng=lambda: 0.99)
    assert job.start(T0 + 4) < 0.7
    assert JobPoller(
        "r", submitted_at=T0, deadline=T0 + 99, completion_times=seen(*range(20, 30)), rng=lambda: 0.99
    ).start(T0 + 4) == pytest.approx(15.0), "nothing of its kind was ever finished so soon"


@pytest.mark.parametrize(
    ("age", "phase", "look"),
    [
        (0.0, 0.0, 1.05),
        (0.0, 0.5, 6.05),
        (0.0, 0.999, 10.05),
        (6.0, 0.5, 6.05),
        (6.05, 0.5, 16.05),
        (50.0, 0.5, 56.05),
        (96.05, 0.5, 100.05),
        (100.0, 0.5, 100.05),
        (100.05, 0.5, None),
    ],
)
def test_looks_come_where_another_tenth_was_finished_and_once_more_after_all_of_them(
    age: float, phase: float, look: float | None
) -> None:
    assert seen(*range(1, 101)).next_look(age, phase) == look


def test_what_was_asked_before_does_not_hide_what_is_learned_later() -> None:
    known = seen(*[10.0] * 10)
    assert known.next_look(0.0, 0.5) == 10.05
    for _ in range(90):
        known.add(5.0)
    assert known.next_look(0.0, 0.5) == 5.05


@pytest.mark.parametrize(
    ("unfinished_at", "finished_at", "told", "learned"),
    [
        (10.0, 12.0, 11.5, 11.5),
        (10.0, 12.0, 10.0, 10.0),
        (10.0, 12.0, 12.0, 12.0),
        (10.0, 11.0, None, 10.5),
        (10.0, 11.0, 9.9, 10.5),
        (10.0, 11.0, 11.1, 10.5),
        (10.0, 110.0, None, 102.5),
        (10.0, 20.0, None, 18.5),
        (None, 4.0, None, 3.5),
        (None, 4.0, 0.5, 0.5),
    ],
)
def test_what_is_learned_of_a_job(
    unfinished_at: float | None, finished_at: float, told: float | None, learned: float
) -> None:
    """What the service tells, if that can be true; else that it was finished half-way between two polls, had they
    been as close upon each other as polls usually are."""
    known = CompletionTimes()
    for _ in range(10):
        job = JobPoller("r", submitted_at=T0, deadline=T0 + 5000, completion_times=known, rng=lambda: 0.0)
        if unfinished_at is not None:
            job.on_status(JobStatus.PROCESSING, T0 + unfinished_at)
        job.on_status(JobStatus.COMPLETED, T0 + finished_at)
        job.on_result(GenerationResult("r", (Image("https://images.segmind.com/cat.png"),), total_time=told))
    assert known.next_look(0.0, 0.5) == pytest.approx(learned + 0.05)


@pytest.mark.parametrize(
    ("age", "dice", "wait"),
    [(0.0, 0.0, 6.05), (0.0, 0.999, 10.05), (6.0, 0.0, 0.44), (7.0, 0.0, 9.05), (101.0, 0.0, 0.85 * 15)],
)
def test_the_wait_for_a_job_of_a_known_kind_is_until_the_next_planned_look(
    age: float, dice: float, wait: float
) -> None:
    job = JobPoller("r", submitted_at=T0, deadline=T0 + 5000, completion_times=seen(*range(1, 101)), rng=lambda: dice)
    if age == 0.0:
        assert job.start(T0) == pytest.approx(wait)
    assert job.on_status(JobStatus.PROCESSING, T0 + age) == pytest.approx(wait)


def test_a_job_is_taken_for_fresh_until_the_first_planned_look() -> None:
    def start(age: float, *times: float) -> float:
        job = JobPoller("r", submitted_at=T0, deadline=T0 + 99, completion_times=seen(*times), rng=lambda: 0.0)
        return job.start(T0 + age)

    assert start(4.0, *[5.0] * 10) == pytest.approx(1.05)
    assert start(5.0, *[5.0] * 10) == pytest.approx(0.44)
    assert start(5.06, *[5.0] * 10) == 0.0, "it may be finished: at once, but for the dice"
    assert start(3.0, *[0.5] * 5, *[8.0] * 5) == 0.0, "half of its kind are finished by then"
