"""When a job is polled again, and when its wait ends."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentBlockedError,
    EmptyResultError,
    ImageRefusedError,
    InsufficientCreditsError,
    InvalidResponseError,
    JobExpiredError,
    JobFailedError,
    JobTimeoutError,
    KandinskyError,
    MethodNotAllowedError,
    ModelRetiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, JobStatus
from airflow_provider_kandinsky.segmind.waiting.poller import JobPoller, PollPolicy

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


def poll_times(job: JobPoller, *, until: float, start: float = T0) -> list[float]:
    """The times of all polls at a job that is PROCESSING until a time, in seconds since its submission."""
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
def test_polls_begin_a_second_apart_and_never_drift_beyond_fifteen(rng: Callable[[], float]) -> None:
    times = poll_times(poller(T0 + 5000, rng=rng), until=T0 + 3000)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    early = [times[0], *(gap for gap, at in zip(gaps, times, strict=False) if at < 6)]
    late = [gap for gap, at in zip(gaps, times, strict=False) if at >= 100]
    assert 0.85 - ROUNDING <= min(early) <= max(early) <= 1.0 + ROUNDING
    assert 12.75 - ROUNDING <= min(late) <= max(gaps) <= 15.0 + ROUNDING


@each_dice
def test_a_gap_is_a_seventh_of_the_age_at_most(rng: Callable[[], float]) -> None:
    times = poll_times(poller(rng=rng), until=T0 + 600)
    assert all(later - earlier <= max(1.0, 0.15 * earlier) + ROUNDING for earlier, later in pairwise(times))


@each_dice
def test_a_job_of_ten_minutes_costs_at_most_seventy_polls(rng: Callable[[], float]) -> None:
    assert 50 <= len(poll_times(poller(rng=rng), until=T0 + 600)) <= 70


@pytest.mark.parametrize(("done_after", "most"), [(0.5, 1), (3, 4), (13, 14), (60, 28)])
def test_a_quick_job_is_noticed_soon(done_after: float, most: int) -> None:
    times = poll_times(poller(), until=T0 + done_after)
    assert len(times) <= most
    assert times[-1] - done_after <= max(1.0, 0.15 * times[-1])


@each_dice
def test_a_fixed_interval_is_kept(rng: Callable[[], float]) -> None:
    times = poll_times(poller(interval=7.0, rng=rng), until=T0 + 70)
    assert times == [7.0 * number for number in range(1, 11)]


@each_dice
@pytest.mark.parametrize("interval", [None, 7.0, 3600.0], ids=["adaptive", "7 s", "longer than the wait"])
def test_the_last_poll_falls_on_the_deadline(interval: float | None, rng: Callable[[], float]) -> None:
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


def test_the_last_poll_counts() -> None:
    job = poller(T0 + 10)
    assert job.on_status(JobStatus.COMPLETED, T0 + 10) == 0
    assert job.completed


def test_a_deadline_that_has_passed_gives_one_poll_at_once() -> None:
    job = poller(T0 + 10)
    assert job.start(T0 + 50) == 0
    with pytest.raises(JobTimeoutError):
        job.on_status(JobStatus.QUEUED, T0 + 50)


def test_a_timeout_says_what_the_service_responded_last() -> None:
    job = poller(T0 + 10)
    job.on_status(JobStatus.PROCESSING, T0 + 9)
    with pytest.raises(JobTimeoutError) as caught:
        job.on_error(PermissionDeniedError("not for you", http_status=403), T0 + 10)
    assert caught.value.message == (
        "The job was not finished 10 s after its submission; the last poll failed: not for you. It may "
        "still be running, and will then be billed"
    )
    assert caught.value.retryable


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.UNKNOWN])
def test_what_is_not_finished_is_waited_for(status: JobStatus) -> None:
    job = poller()
    assert job.on_status(status, T0) > 0
    assert job.completed is False


NO_RESPONSE = [
    ServiceUnavailableError("502"),
    InvalidResponseError("HTML"),
    RateLimitedError("slow down"),
    RateLimitedError("slow down", retry_after=30.0),
]
each_no_response = pytest.mark.parametrize("error", NO_RESPONSE, ids=lambda error: type(error).__name__)


@each_no_response
def test_no_response_is_waited_out_beyond_the_deadline_within_the_hour(error: KandinskyError) -> None:
    job, now, polls = poller(T0 + 100), T0, 0
    while now < T0 + RECORD_LIFETIME:
        now += job.on_error(error, now)
        polls += 1
    assert now == T0 + RECORD_LIFETIME
    assert polls < 600
    with pytest.raises(JobTimeoutError, match=rf"3600 s after its submission; .* failed: {error.message}"):
        job.on_error(error, now)


@each_no_response
def test_one_response_after_the_deadline_is_enough(error: KandinskyError) -> None:
    job = poller(T0 + 100)
    now = T0 + 100 + job.on_error(error, T0 + 100)
    assert now > T0 + 100
    with pytest.raises(JobTimeoutError, match="last seen PROCESSING"):
        job.on_status(JobStatus.PROCESSING, now)
    assert job.on_status(JobStatus.COMPLETED, now) == 0


REFUSALS = [
    AuthenticationError("401", http_status=401),
    PermissionDeniedError("403", http_status=403),
    BadRequestError("400", http_status=400),
    InsufficientCreditsError("402", http_status=402),
    MethodNotAllowedError("405", http_status=405),
    InsufficientCreditsError("406", http_status=406),
    ModelRetiredError("410", http_status=410),
    ConfigurationError("302", http_status=302),
    AuthenticationError("There is no API key"),
    ConfigurationError("no such host"),
]
each_refusal = pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.message)


@each_refusal
def test_a_refusal_says_nothing_of_the_job_and_is_waited_out_until_the_deadline(error: KandinskyError) -> None:
    job, now = poller(T0 + 900), T0 + 1
    for _ in range(20):
        pause = job.on_error(error, now)
        assert 0.4 <= pause <= 15
        now += pause
    with pytest.raises(JobTimeoutError, match=error.message):
        job.on_error(error, T0 + 900)


@each_refusal
def test_a_refusal_is_waited_out_for_an_hour_at_most(error: KandinskyError) -> None:
    job = poller(math.inf)
    assert job.on_error(error, T0 + RECORD_LIFETIME - 1) > 0
    with pytest.raises(JobTimeoutError):
        job.on_error(error, T0 + RECORD_LIFETIME)


def not_found_until_the_end(job: JobPoller, now: float, between: KandinskyError | None = None) -> float:
    """When it is given up for good."""
    for _ in range(1000):
        try:
            now += job.on_error(JobExpiredError("404"), now)
        except JobExpiredError:
            return now
        if between is not None:
            now += job.on_error(between, now)
    raise AssertionError("this would never end")


@each_dice
@pytest.mark.parametrize("age", [0.0, 9.9, 10.0, 600.0])
@pytest.mark.parametrize("interval", [None, 40.0], ids=["adaptive", "40 s"])
def test_an_id_counts_as_gone_after_the_grace_period_of_nothing_but_404(
    age: float, interval: float | None, rng: Callable[[], float]
) -> None:
    job = poller(T0 + 9999, interval, rng)
    assert not_found_until_the_end(job, T0 + age) == pytest.approx(T0 + age + 60)


def test_the_policy_sets_the_numbers() -> None:
    policy = PollPolicy(
        min_interval=2, max_interval=8, interval_per_age=0.5, jitter=0, first_backoff=0.25, not_found_grace_period=3
    )
    job = JobPoller("r-1", submitted_at=T0, deadline=T0 + 900, policy=policy)
    assert job.start(T0) == 2
    assert [job.on_status(JobStatus.PROCESSING, T0 + age) for age in (0, 10, 20)] == [2, 5, 8]
    assert [job.on_error(ServiceUnavailableError("502"), T0 + 30) for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert job.on_error(RateLimitedError("429", retry_after=50), T0 + 30) == 50
    job.on_status(JobStatus.PROCESSING, T0 + 30)
    assert not_found_until_the_end(job, T0 + 40) == T0 + 43


def test_a_response_in_between_begins_the_grace_period_again() -> None:
    job = poller(T0 + 9999)
    job.on_error(JobExpiredError("404"), T0 + 10)
    job.on_status(JobStatus.PROCESSING, T0 + 60)
    assert not_found_until_the_end(job, T0 + 65) == pytest.approx(T0 + 125)


@pytest.mark.parametrize("between", [*NO_RESPONSE[:3], REFUSALS[0]], ids=lambda error: type(error).__name__)
def test_what_says_nothing_of_the_job_neither_counts_as_404_nor_begins_the_grace_period_again(
    between: KandinskyError,
) -> None:
    job = poller(T0 + 9999)
    job.on_error(between, T0)
    gone_at = not_found_until_the_end(job, T0 + 10, between)
    assert T0 + 70 <= gone_at <= T0 + 70 + 15 * 1.15


@pytest.mark.parametrize("age", [RECORD_LIFETIME, 2 * RECORD_LIFETIME])
def test_an_unknown_id_of_an_old_job_is_gone_at_once(age: float) -> None:
    with pytest.raises(JobExpiredError):
        poller(T0 + 99_999).on_error(JobExpiredError("404"), T0 + age)


def test_at_the_deadline_an_unknown_id_is_not_known_now() -> None:
    with pytest.raises(JobTimeoutError):
        poller(T0 + 20).on_error(JobExpiredError("404"), T0 + 20)


FINAL = [
    JobFailedError("it failed"),
    ContentBlockedError("it failed"),
    EmptyResultError("nothing in it"),
    ImageRefusedError("too large"),
    BadRequestError("this cannot be a request id"),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_says_how_the_job_ended_ends_the_wait(error: KandinskyError) -> None:
    with pytest.raises(type(error)) as caught:
        poller().on_error(error, T0)
    assert caught.value is error


@pytest.mark.parametrize(
    ("hint", "lowest", "highest"),
    [
        (30.0, 30.0, 34.5),
        (60.0, 60.0, 69.0),
        (86_400.0, 60.0, 69.0),
        (0.0, 0.85, 1.15),
        (None, 0.85, 1.15),
        (-1e308, 0.85, 1.15),
        (1e308, 60.0, 69.0),
        (math.inf, 60.0, 69.0),
    ],
)
def test_a_retry_hint_is_obeyed_and_capped(hint: float | None, lowest: float, highest: float) -> None:
    """Never earlier than the hint, and spread, because many jobs get the same hint."""
    error = RateLimitedError("429", retry_after=hint)
    assert poller().on_error(error, T0) == pytest.approx(lowest)
    assert poller(rng=DICE["highest"]).on_error(error, T0) == pytest.approx(highest)


def test_a_failed_poll_is_made_again_soon_whatever_the_age_of_the_job() -> None:
    job = poller(T0 + 9999, rng=DICE["highest"])
    pauses = [job.on_error(ServiceUnavailableError("502"), T0 + 600) for _ in range(7)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 15, 15])
    assert job.on_status(JobStatus.PROCESSING, T0 + 600) == pytest.approx(15), "the interval by age is for responses"
    assert job.on_error(ServiceUnavailableError("502"), T0 + 600) == pytest.approx(0.5)
    assert poller().on_error(ServiceUnavailableError("502"), T0 + 600) == pytest.approx(0.425), "with jitter"


def test_the_interval_after_a_failed_poll_is_never_longer_than_the_usual_one() -> None:
    for interval, usual in ((None, 1.0), (0.05, 0.05), (3.0, 3.0)):
        job = poller(interval=interval, rng=DICE["highest"])
        assert max(job.on_error(ServiceUnavailableError("502"), T0) for _ in range(2000)) == pytest.approx(usual)


def test_a_small_job_that_is_polled_late_survives_six_errors_in_half_a_minute() -> None:
    """A busy triggerer starts a trigger 30 s late: the job is long finished."""
    for rng in DICE.values():
        job, now = poller(T0 + 90, rng=rng), T0 + 30
        now += job.start(now)
        for _ in range(6):
            now += job.on_error(ServiceUnavailableError("500"), now)
        assert now < T0 + 60


def test_a_retry_hint_is_cut_at_the_deadline() -> None:
    assert poller(T0 + 20).on_error(RateLimitedError("429", retry_after=50), T0 + 5) == 15


def test_a_retry_hint_never_makes_a_fixed_interval_shorter() -> None:
    assert poller(interval=40.0).on_error(RateLimitedError("429", retry_after=2), T0) >= 40


def test_a_new_job_is_polled_after_an_interval() -> None:
    assert poller().start(T0) == pytest.approx(0.85)
    assert poller(rng=DICE["highest"]).start(T0) == pytest.approx(1.0)


def test_reattached_jobs_are_spread_over_their_interval() -> None:
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
def test_the_interval_grows_with_the_age(age: float, gap: float) -> None:
    for share, rng in ((0.85, LOWEST), (0.925, 0.5), (1.0, HIGHEST)):
        job = poller(T0 + 9999, rng=partial(float, rng))
        assert job.on_status(JobStatus.PROCESSING, T0 + age) == pytest.approx(share * gap)


@pytest.mark.parametrize(("age", "within"), [(1.0, 0.15), (20.0, 3.0), (100.0, 15.0), (3600.0, 15.0)])
def test_a_reattached_job_is_polled_within_a_share_of_its_age(age: float, within: float) -> None:
    for share, rng in ((0.0, LOWEST), (0.5, 0.5), (1.0, HIGHEST)):
        job = poller(T0 + 9999, rng=partial(float, rng))
        assert job.start(T0 + age) == pytest.approx(share * within)
    assert poller(T0 + 9999, interval=40.0, rng=lambda: 0.5).start(T0 + age) == 20.0


def test_polls_are_counted_failed_ones_as_well() -> None:
    job = poller()
    job.on_status(JobStatus.QUEUED, T0 + 1)
    job.on_error(ServiceUnavailableError("502"), T0 + 2)
    job.on_status(JobStatus.COMPLETED, T0 + 3)
    result = GenerationResult("r-1", (Image("https://images.segmind.com/cat.png"),), seed=7)
    assert job.on_result(result) == replace(result, polls=3)
