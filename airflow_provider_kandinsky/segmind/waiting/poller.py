"""When to poll a job again, and when to give up. Does no I/O and never sleeps: the clock and the dice come in.

One :class:`JobPoller` drives every waiter, blocking or not, so that they cannot drift apart. It is asked
:meth:`~JobPoller.start` once, then told what each poll found; each answer is the number of seconds to wait before
the next poll, or the error to give up with. All times are wall clock, in seconds since the epoch, because a wait
can move between processes and machines.

The job was accepted, so what ends the wait is what the service says of the job itself: it failed, it is finished, it
is not finished at the deadline. Anything else means that its state is not known now:

- 429, 5xx, no answer, no JSON: polled again, also beyond the deadline, within the hour for which the service keeps
  the job, until there is one real answer.
- 404: polled again, until nothing but 404 has come for :data:`NOT_FOUND_GRACE_PERIOD`, or the hour is over. Only an
  answer about the job ends that count; other failures in between neither count nor end it.
- any other refusal (a key that was changed, a page of a proxy, credits): polled again until the deadline, at most for
  the hour.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    JobError,
    JobExpiredError,
    JobTimeoutError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
)
from airflow_provider_kandinsky.segmind.schemas import RECORD_LIFETIME, GenerationResult, JobStatus
from airflow_provider_kandinsky.segmind.waiting.completion_times import CompletionTimes

SHORTEST_INTERVAL: Final = 1.0
LONGEST_INTERVAL: Final = 15.0
#: Where it is known when jobs are finished, polls may come closer upon each other. Not much closer: with every job
#: that is finished the plan shifts a little, and each shift would be worth another look.
MIN_PLANNED_INTERVAL: Final = 0.44
#: The interval as a share of the job's age. A job of 10 minutes costs about 65 polls.
_INTERVAL_PER_AGE: Final = 0.15
#: Intervals are drawn from this share of themselves upwards, so that jobs of one moment do not stay in step.
_LEAST_SHARE: Final = 0.85
#: Planned polls lie in the later half of their share of the times: what a look costs is sure, what it finds is not.
_LEAST_PHASE: Final = 0.5

#: The service counts its limits per minute: whatever it says, a longer wait than this is a misunderstanding.
MAX_RETRY_AFTER: Final = 60.0
#: For how many seconds nothing but 404 has to come until a job counts as gone.
NOT_FOUND_GRACE_PERIOD: Final = 60.0
#: Seconds until the next poll after one that failed; doubled with each that follows, up to the usual interval.
_FIRST_BACKOFF: Final = 0.5


class JobPoller:
    """The life of one wait for one job.

    :param request_id: the job.
    :param submitted_at: when it was submitted, or when it was first heard of.
    :param deadline: when to stop waiting; there is one last poll at that time.
    :param poll_interval: a fixed number of seconds between polls; adaptive if ``None``: about 1 s at first, growing
        with the job's age to at most 15 s, with jitter.
    :param completion_times: what is known of jobs like this one, and is told of it: where that is enough, an
        adaptive poller looks when they were finished, and never waits longer than 15 s.
    :param rng: numbers from 0 up to 1.
    """

    def __init__(
        self,
        request_id: str,
        *,
        submitted_at: float,
        deadline: float,
        poll_interval: float | None = None,
        completion_times: CompletionTimes | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.request_id = request_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self._poll_interval = poll_interval
        self._completion_times = completion_times
        self._not_found_since: float | None = None
        self._rng = rng
        self._phase = _LEAST_PHASE + (1 - _LEAST_PHASE) * rng()
        self._unfinished_at = self._completed_at = 0.0
        self._completed = False
        self._looks = self._failures = 0

    @property
    def completed(self) -> bool:
        """Whether the job is known to be finished, so that its result is what to ask for next."""
        return self._completed

    def start(self, now: float) -> float:
        """Seconds to wait before the first look.

        A fresh job is given a moment. One that is taken up again (a restarted triggerer takes up thousands at once)
        is looked at within a share of its age.
        """
        if now >= self.deadline:
            return 0.0
        age = self._age(now)
        if age < max(SHORTEST_INTERVAL, self._planned_look(0.0) or 0.0):
            return self._until_deadline(self._until_next_look(now), now)
        interval = self._poll_interval or min(age * _INTERVAL_PER_AGE, LONGEST_INTERVAL)
        return self._until_deadline(interval * self._rng(), now)

    def on_status(self, status: JobStatus, now: float) -> float:
        """Take in what a look found.

        :return: seconds until the next look; 0 if the job is :attr:`completed` and its result is to be fetched.
        :raises JobTimeoutError: the deadline has passed.
        """
        self._looks += 1
        self._failures, self._not_found_since = 0, None
        if status.is_terminal:
            # FAILED never comes here: the wire raises it as an error, with its text.
            self._completed = True
            self._completed_at = self._age(now)
            return 0.0
        self._unfinished_at = self._age(now)
        if now >= self.deadline:
            raise self._timed_out(f"it was last seen {status}", now)
        return self._until_deadline(self._until_next_look(now), now)

    def on_result(self, result: GenerationResult) -> GenerationResult:
        """Take in the end: it tells when to look at the next jobs like this one.

        :return: the result, with how many polls it took.
        """
        if self._completion_times is not None:
            self._completion_times.add(self._took(result))
        return replace(result, polls=self._looks)

    def _took(self, result: GenerationResult) -> float:
        """How old the job was when it was finished, in seconds."""
        took = result.total_time
        if took is None or not self._unfinished_at <= took <= self._completed_at:
            # It was finished some time since the last look at it, or since the one that a closer watch had made.
            unseen = min(self._completed_at - self._unfinished_at, self._usual_interval(self._completed_at))
            took = self._completed_at - unseen / 2
        return took

    def on_error(self, error: KandinskyError, now: float) -> float:
        """Take in that a poll, or the fetching of the result, failed.

        :return: seconds until the next poll.
        :raises KandinskyError: the error itself, where it says what became of the job.
        :raises JobTimeoutError: there is no more time for it.
        """
        self._looks += 1
        if isinstance(error, JobExpiredError):
            self._not_found_since = now if self._not_found_since is None else self._not_found_since
            if self._is_gone(now):
                raise error
        elif self._is_final(error):
            raise error
        if now >= self._last_poll_after(error):
            raise self._timed_out(f"the last look at it failed: {error.message}", now)
        return self._until_deadline(self._wait_after(error, now), now)

    @staticmethod
    def _is_final(error: KandinskyError) -> bool:
        is_about_the_job = isinstance(error, JobError)
        is_refused_here = isinstance(error, BadRequestError) and error.http_status is None
        return is_about_the_job or is_refused_here

    def _is_gone(self, now: float) -> bool:
        not_found_for = now - (now if self._not_found_since is None else self._not_found_since)
        return not_found_for >= NOT_FOUND_GRACE_PERIOD or now - self.submitted_at >= RECORD_LIFETIME

    def _last_poll_after(self, error: KandinskyError) -> float:
        """When an error like this one means that there is no more time."""
        if isinstance(error, JobExpiredError):
            return self.deadline
        end_of_record = self.submitted_at + RECORD_LIFETIME
        if isinstance(error, (RateLimitedError, ServiceUnavailableError)):
            return max(self.deadline, end_of_record)
        return min(self.deadline, end_of_record)

    def _wait_after(self, error: KandinskyError, now: float) -> float:
        if isinstance(error, RateLimitedError):
            wait = max(min(error.retry_after or 0.0, MAX_RETRY_AFTER), self._interval(now))
            # Those who were told the same moment must not all come back at it.
            return wait * (1 + (1 - _LEAST_SHARE) * self._rng())
        backoff = _FIRST_BACKOFF * 2.0 ** min(self._failures, 10) * self._jitter()
        self._failures += 1
        wait = min(backoff, self._interval(now))
        if isinstance(error, JobExpiredError) and self._not_found_since is not None:
            return max(0.0, min(wait, self._not_found_since + NOT_FOUND_GRACE_PERIOD - now))
        return wait

    def _timed_out(self, last_seen: str, now: float) -> JobTimeoutError:
        return JobTimeoutError(
            f"The job was not finished {self._age(now):.0f} s after its submission; {last_seen}. It may still be "
            "running, and will then be billed",
            request_id=self.request_id,
        )

    def _until_deadline(self, wait: float, now: float) -> float:
        """Cut the wait so that a poll falls on the deadline."""
        end = self.deadline if now < self.deadline else self.submitted_at + RECORD_LIFETIME
        return max(0.0, min(wait, end - now))

    def _until_next_look(self, now: float) -> float:
        age = self._age(now)
        planned = self._planned_look(age)
        if planned is None:
            return self._interval(now)
        return min(max(planned - age, MIN_PLANNED_INTERVAL), LONGEST_INTERVAL)

    def _planned_look(self, age: float) -> float | None:
        if self._poll_interval is not None or self._completion_times is None:
            return None
        return self._completion_times.next_look(age, self._phase)

    def _interval(self, now: float) -> float:
        if self._poll_interval is not None:
            return self._poll_interval
        return self._usual_interval(self._age(now)) * self._jitter()

    @staticmethod
    def _usual_interval(age: float) -> float:
        return min(max(age * _INTERVAL_PER_AGE, SHORTEST_INTERVAL), LONGEST_INTERVAL)

    def _jitter(self) -> float:
        return _LEAST_SHARE + (1 - _LEAST_SHARE) * self._rng()

    def _age(self, now: float) -> float:
        return max(0.0, now - self.submitted_at)
