"""When to poll a job again, and when to give up. Does no I/O and never sleeps: clock and random numbers are arguments.

One :class:`JobPoller` drives every waiter, blocking or not, so that they cannot drift apart. Call
:meth:`~JobPoller.start` once, then report each poll; each call returns the seconds until the next poll, or raises the
error that ends the wait. All times are wall clock, in seconds since the epoch, because a wait can move between
processes and machines.

The service has accepted the job, so only what it says of the job itself ends the wait: it failed, it is finished, or
it is still running at the deadline. Any other response means that the job's state is unknown for now:

- 429, 5xx, no response, no JSON: poll again, also beyond the deadline, until one real response comes, at most for the
  hour for which the service keeps the job.
- 404: poll again, until nothing but 404 has come for the ``not_found_grace_period`` of the :class:`PollPolicy`, or the
  hour is over. Only a response about the job ends that count; other failures in between neither count nor end it.
- any other refusal (a key that was changed, a proxy's page, credits): poll again until the deadline, at most for the
  hour.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    InsufficientCreditsError,
    JobError,
    JobExpiredError,
    JobTimeoutError,
    KandinskyError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, JobStatus
from airflow_provider_kandinsky.segmind.waiting.sweep_policy import DEFAULT_SWEEP_POLICY, SweepPolicy

#: Longest wait after a 429, in seconds. The service counts its limits per minute, so a longer hint is a mistake.
MAX_RETRY_AFTER: Final = 60.0


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How often a job is polled, and for how long a 404 may pass. All times are seconds.

    :param min_interval: the shortest adaptive interval.
    :param max_interval: the longest adaptive interval.
    :param interval_per_age: the adaptive interval as a share of the job's age. A job of 10 minutes costs about 65
        polls.
    :param jitter: each interval is scaled by a random factor between ``1 - jitter`` and 1, so that jobs submitted
        together are not polled together. The wait after a 429 is prolonged by that share at most.
    :param first_backoff: the wait after a failed poll; doubled with each further failure, up to the usual interval.
    :param not_found_grace_period: a job counts as gone after so long with no response but 404.
    :param sweeps: how the request history is swept for jobs that are waited for together.
    """

    min_interval: float = 1.0
    max_interval: float = 15.0
    interval_per_age: float = 0.15
    jitter: float = 0.15
    first_backoff: float = 0.5
    not_found_grace_period: float = 60.0
    sweeps: SweepPolicy = DEFAULT_SWEEP_POLICY


DEFAULT_POLL_POLICY: Final = PollPolicy()

#: What a poll of one job is refused for, and those of all others as well.
_CONCERN_ACCOUNT: Final = (AuthenticationError, PermissionDeniedError, InsufficientCreditsError)


class JobPoller:
    """Decides when to poll one job, and when to give up.

    :param request_id: the job.
    :param submitted_at: when it was submitted, or first heard of.
    :param deadline: when to stop waiting. The last poll is at that time.
    :param poll_interval: fixed seconds between polls; ``None``: adaptive, about 1 s at first, growing with the job's
        age to at most 15 s, with jitter.
    :param policy: the numbers behind that.
    :param rng: returns numbers from 0 up to 1.
    """

    def __init__(
        self,
        request_id: str,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
        policy: PollPolicy = DEFAULT_POLL_POLICY,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.request_id = request_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self._poll_interval = poll_interval
        self._policy = policy
        self._rng = rng
        self._not_found_since: float | None = None
        #: Whether the job is finished, so that its result is to be fetched next.
        self.completed = False
        self._is_listed = False
        self._polls = self._failures = 0

    def start(self, now: float) -> float:
        """Seconds until the first poll.

        A new job is polled after one interval. One that is re-attached (a restarted triggerer re-attaches thousands
        together) is polled at a random time within that share of its age.
        """
        if now >= self.deadline:
            return 0.0
        age = self._age(now)
        if age < self._policy.min_interval:
            return self.cut_at_deadline(self._interval(now), now)
        interval = self._poll_interval or min(age * self._policy.interval_per_age, self._policy.max_interval)
        return self.cut_at_deadline(interval * self._rng(), now)

    def on_listed(self) -> None:
        """Report that the request history says that the job is completed: its result is to be fetched next."""
        self.completed = self._is_listed = True

    def on_status(self, status: JobStatus, now: float) -> float:
        """Report the status that a poll returned.

        :return: seconds until the next poll; 0 if the job is :attr:`completed` and its result is to be fetched.
        :raises JobTimeoutError: the deadline has passed.
        """
        self._polls += 1
        self._failures, self._not_found_since = 0, None
        if status.is_terminal:
            # Never FAILED: the wire raises that as an error, with the service's text.
            self.completed = True
            return 0.0
        if now >= self.deadline:
            raise self._timeout_error(f"it was last seen {status}", now)
        return self.cut_at_deadline(self._interval(now), now)

    def on_result(self, result: GenerationResult) -> GenerationResult:
        """Report the result.

        :return: the result, with the number of polls that it took.
        """
        return replace(result, polls=self._polls)

    def on_error(self, error: KandinskyError, now: float) -> float:
        """Report that a poll, or the fetching of the result, failed.

        :return: seconds until the next poll.
        :raises KandinskyError: ``error`` itself, if it says how the job ended.
        :raises JobTimeoutError: there is no time left.
        """
        self._polls += 1
        if self._is_listed:  # the history may be wrong
            self.completed = self._is_listed = False
        if isinstance(error, JobExpiredError):
            if self._not_found_since is None:
                self._not_found_since = now
            not_found_for = now - self._not_found_since
            if not_found_for >= self._policy.not_found_grace_period or self._age(now) >= RECORD_LIFETIME:
                raise error
        elif _is_final(error):
            raise error
        if now >= self._last_poll_after(error):
            timeout = self._timeout_error(f"the last poll failed: {error.message}", now)
            timeout.concerns_account = isinstance(error, _CONCERN_ACCOUNT)
            raise timeout
        return self.cut_at_deadline(self._wait_after(error, now), now)

    def _last_poll_after(self, error: KandinskyError) -> float:
        """From when on an error of this kind ends the wait."""
        if isinstance(error, JobExpiredError):
            return self.deadline
        end_of_record = self.submitted_at + RECORD_LIFETIME
        if isinstance(error, (RateLimitedError, ServiceUnavailableError)):
            return max(self.deadline, end_of_record)
        return min(self.deadline, end_of_record)

    def _wait_after(self, error: KandinskyError, now: float) -> float:
        if isinstance(error, RateLimitedError):
            wait = max(min(error.retry_after or 0.0, MAX_RETRY_AFTER), self._interval(now))
            # Not scaled down, because an early request is refused again.
            return wait * (1 + self._policy.jitter * self._rng())
        backoff = self._policy.first_backoff * 2.0 ** min(self._failures, 10) * self._jitter()
        self._failures += 1
        wait = min(backoff, self._interval(now))
        if isinstance(error, JobExpiredError) and self._not_found_since is not None:
            return max(0.0, min(wait, self._not_found_since + self._policy.not_found_grace_period - now))
        return wait

    def _timeout_error(self, last_seen: str, now: float) -> JobTimeoutError:
        return JobTimeoutError(
            f"The job was not finished {self._age(now):.0f} s after its submission; {last_seen}. It may still be "
            "running, and will then be billed",
            request_id=self.request_id,
        )

    def cut_at_deadline(self, wait: float, now: float) -> float:
        """Cut a wait so that a poll falls on the deadline, or else on the end of the job's record.

        :return: seconds, 0 at least.
        """
        end = self.deadline if now < self.deadline else self.submitted_at + RECORD_LIFETIME
        return max(0.0, min(wait, end - now))

    def _interval(self, now: float) -> float:
        if self._poll_interval is not None:
            return self._poll_interval
        by_age = self._age(now) * self._policy.interval_per_age
        return min(max(by_age, self._policy.min_interval), self._policy.max_interval) * self._jitter()

    def _jitter(self) -> float:
        return 1 - self._policy.jitter * (1 - self._rng())

    def _age(self, now: float) -> float:
        return max(0.0, now - self.submitted_at)


def _is_final(error: KandinskyError) -> bool:
    # A bad request without a status was refused here, before anything was sent.
    return isinstance(error, JobError) or (isinstance(error, BadRequestError) and error.http_status is None)
