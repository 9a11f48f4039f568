"""When a job is looked at again, and when it is given up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentBlockedError,
    EmptyResultError,
    InvalidResponseError,
    JobExpiredError,
    JobFailedError,
    JobTimeoutError,
    KandinskyError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.polling import JobPoller
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus

T0 = 1_700_000_000.0
#: Times since the epoch have no more digits than this.
ROUNDING = 1e-6
LOWEST, HIGHEST = 0.0, 1.0 - 2**-53
DICE: dict[str, Callable[[], float]] = {
    "lowest": lambda: LOWEST,
    "highest": lambda: HIGHEST,
    "drawn": random.Random(1).random,
}
each_dice = pytest.mark.parametrize("rng", DICE.values(), ids=DICE)


def poller(deadline: float = T0 + 900, interval: float | None = None, rng: Callable[[], float] = DICE["lowest"]):  # type: ignore[no-untyped-def]
    return JobPoller("r-1", submitted_at=T0, deadline=deadline, poll_interval=interval, rng=rng)


def looks_at(job: JobPoller, *, until: float, start: float = T0) -> list[float]:
    """The times of all looks at a job that is PROCESSING until a time, in seconds since its submission."""
    now = start + job.start(start)
    times = [now - T0]
    while now < until:
        now += job.on_status(JobStatus.PROCESSING, now)
        times.append(now - T0)
        assert len(times) < 1000
    assert job.on_status(JobStatus.COMPLETED, now) == 0
    assert job.completed
    return times


@each_dice
def test_looks_begin_a_second_apart_and_never_drift_beyond_fifteen(rng: Callable[[], float]) -> None:
    times = looks_at(poller(T0 + 5000, rng=rng), until=T0 + 3000)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    early = [times[0], *(gap for gap, at in zip(gaps, times, strict=False) if at < 6)]
    late = [gap for gap, at in zip(gaps, times, strict=False) if at >= 100]
    assert 0.85 - ROUNDING <= min(early) <= max(early) <= 1.0 + ROUNDING
    assert 12.75 - ROUNDING <= min(late) <= max(gaps) <= 15.0 + ROUNDING


@each_dice
def test_a_gap_is_a_seventh_of_the_age_at_most(rng: Callable[[], float]) -> None:
    times = looks_at(poller(rng=rng), until=T0 + 600)
    assert all(later - earlier <= max(1.0, 0.15 * earlier) + ROUNDING for earlier, later in pairwise(times))


@each_dice
def test_a_job_of_ten_minutes_costs_at_most_seventy_looks(rng: Callable[[], float]) -> None:
    assert 50 <= len(looks_at(poller(rng=rng), until=T0 + 600)) <= 70


@pytest.mark.parametrize(("done_after", "most"), [(0.5, 1), (3, 4), (13, 14), (60, 28)])
def test_a_quick_job_is_seen_soon(done_after: float, most: int) -> None:
    times = looks_at(poller(), until=T0 + done_after)
    assert len(times) <= most
    assert times[-1] - done_after <= max(1.0, 0.15 * times[-1])


@each_dice
def test_a_fixed_interval_is_kept(rng: Callable[[], float]) -> None:
    times = looks_at(poller(interval=7.0, rng=rng), until=T0 + 70)
    assert times == [7.0 * look for look in range(1, 11)]


@each_dice
@pytest.mark.parametrize("interval", [None, 7.0, 3600.0], ids=["adaptive", "7 s", "longer than the wait"])
def test_the_last_look_falls_on_the_deadline(interval: float | None, rng: Callable[[], float]) -> None:
    job, deadline = poller(T0 + 101.25, interval, rng), T0 + 101.25
    now = T0 + job.start(T0)
    for _ in range(100):
        if now >= deadline:
            break
        now += job.on_status(JobStatus.PROCESSING, now)
    assert now == deadline
    with pytest.raises(JobTimeoutError) as caught:
        job.on_status(JobStatus.PROCESSING, now)
    assert caught.value.request_id == "r-1"
    assert caught.value.message == (
        "The job was not finished 101 s after its submission; it was last seen PROCESSING. It may still be running, "
        "and will then be billed"
    )
    assert (caught.value.billing, caught.value.retryable) == ("maybe", True)


def test_the_last_look_counts() -> None:
    job = poller(T0 + 10)
    assert job.on_status(JobStatus.COMPLETED, T0 + 10) == 0
    assert job.completed


def test_a_deadline_that_has_passed_gives_one_look_at_once() -> None:
    job = poller(T0 + 10)
    assert job.start(T0 + 50) == 0
    with pytest.raises(JobTimeoutError):
        job.on_status(JobStatus.QUEUED, T0 + 50)


def test_a_timeout_says_what_the_last_look_met() -> None:
    job = poller(T0 + 10)
    job.on_status(JobStatus.PROCESSING, T0 + 9)
    with pytest.raises(JobTimeoutError) as caught:
        job.on_error(ServiceUnavailableError("the gateway broke"), T0 + 10)
    assert caught.value.message == (
        "The job was not finished 10 s after its submission; the last look at it failed: the gateway broke. It may "
        "still be running, and will then be billed"
    )


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.UNKNOWN])
def test_what_is_not_finished_is_waited_for(status: JobStatus) -> None:
    job = poller()
    assert job.on_status(status, T0) > 0
    assert job.completed is False


@pytest.mark.parametrize(
    "error",
    [ServiceUnavailableError("502"), InvalidResponseError("HTML"), RateLimitedError("slow down")],
    ids=lambda error: type(error).__name__,
)
def test_what_may_pass_is_waited_out_until_the_deadline(error: KandinskyError) -> None:
    job, now = poller(), T0
    for _ in range(20):
        pause = job.on_error(error, now)
        assert 0.85 <= pause <= 15 * 1.15
        now += pause
    with pytest.raises(JobTimeoutError):
        job.on_error(error, T0 + 900)


@pytest.mark.parametrize("age", [0.0, 5.0, 9.9])
def test_an_unknown_id_is_tolerated_at_first(age: float) -> None:
    assert poller().on_error(JobExpiredError("404"), T0 + age) >= 0.85


@pytest.mark.parametrize("age", [10.0, 60.0, 3600.0])
def test_an_unknown_id_is_final_later(age: float) -> None:
    with pytest.raises(JobExpiredError):
        poller(T0 + 9999).on_error(JobExpiredError("404"), T0 + age)


FINAL = [
    AuthenticationError, PermissionDeniedError, JobFailedError, ContentBlockedError, EmptyResultError,
    ConfigurationError, BadRequestError,
]  # fmt: skip


@pytest.mark.parametrize("error_type", FINAL)
def test_what_waiting_cannot_cure_ends_at_once(error_type: type[KandinskyError]) -> None:
    error = error_type("no")
    with pytest.raises(error_type) as caught:
        poller().on_error(error, T0)
    assert caught.value is error


@pytest.mark.parametrize(
    ("advised", "lowest", "highest"),
    [(30.0, 30.0, 34.5), (60.0, 60.0, 69.0), (86_400.0, 60.0, 69.0), (0.0, 0.85, 1.15), (None, 0.85, 1.15)],
)
def test_advice_is_obeyed_and_capped(advised: float | None, lowest: float, highest: float) -> None:
    """Never in less time than advised, and those who were told one moment not all at it."""
    error = RateLimitedError("429", retry_after=advised)
    assert poller().on_error(error, T0) == pytest.approx(lowest)
    assert poller(rng=DICE["highest"]).on_error(error, T0) == pytest.approx(highest)


def test_advice_is_cut_at_the_deadline() -> None:
    assert poller(T0 + 20).on_error(RateLimitedError("429", retry_after=50), T0 + 5) == 15


def test_advice_never_makes_a_fixed_interval_shorter() -> None:
    assert poller(interval=40.0).on_error(RateLimitedError("429", retry_after=2), T0) >= 40


def test_a_fresh_job_is_given_a_moment() -> None:
    assert poller().start(T0) == pytest.approx(0.85)
    assert poller(rng=DICE["highest"]).start(T0) == pytest.approx(1.0)


def test_jobs_taken_up_again_are_spread_over_their_interval() -> None:
    def starts(rng: Callable[[], float]) -> Iterable[float]:
        return [poller(T0 + 900, rng=rng).start(T0 + 300) for _ in range(500)]

    drawn = sorted(starts(random.Random(2).random))
    assert 0 <= drawn[0] < 1
    assert 13 < drawn[-1] <= 15
    assert max(later - earlier for earlier, later in pairwise(drawn)) < 1


def test_a_clock_that_steps_back_does_no_harm() -> None:
    assert poller().on_status(JobStatus.QUEUED, T0 - 500) == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("age", "gap"), [(0.0, 1.0), (6.0, 1.0), (8.0, 1.2), (60.0, 9.0), (100.0, 15.0), (3600.0, 15.0)]
)
def test_the_gap_after_a_look_grows_with_the_age(age: float, gap: float) -> None:
    for share, rng in ((0.85, LOWEST), (0.925, 0.5), (1.0, HIGHEST)):
        job = poller(T0 + 9999, rng=partial(float, rng))
        assert job.on_status(JobStatus.PROCESSING, T0 + age) == pytest.approx(share * gap)
        assert job.on_error(ServiceUnavailableError("502"), T0 + age) == pytest.approx(share * gap)


@pytest.mark.parametrize(("age", "within"), [(1.0, 0.15), (20.0, 3.0), (100.0, 15.0), (3600.0, 15.0)])
def test_a_job_that_is_taken_up_again_is_looked_at_within_a_share_of_its_age(age: float, within: float) -> None:
    for share, rng in ((0.0, LOWEST), (0.5, 0.5), (1.0, HIGHEST)):
        job = poller(T0 + 9999, rng=partial(float, rng))
        assert job.start(T0 + age) == pytest.approx(share * within)
    assert poller(T0 + 9999, interval=40.0, rng=lambda: 0.5).start(T0 + age) == 20.0


def test_the_looks_are_counted_those_that_failed_as_well() -> None:
    job = poller()
    job.on_status(JobStatus.QUEUED, T0 + 1)
    job.on_error(ServiceUnavailableError("502"), T0 + 2)
    job.on_status(JobStatus.COMPLETED, T0 + 3)
    result = GenerationResult("r-1", (Image("https://images.segmind.com/cat.png"),), seed=7)
    assert job.on_result(result) == replace(result, looks=3)
