"""How often the request history is swept, and how far it is relied on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """How the history is swept. All times are seconds.

    :param min_jobs: so many jobs must be waited for; a single one is polled.
    :param min_interval: from the beginning of one sweep to that of the next. A sweep that takes longer is followed by
        the next one.
    :param max_interval: the longest such interval.
    :param interval_per_age: the interval as a share of the youngest job's age.
    :param pages_at_once: how many pages of one sweep are read at a time, after the first.
    :param vouched_for: a job that is listed as in flight is not polled until so long after the next sweep is due.
    :param poll_anyway: but it is polled after so long without a poll, because the list may be wrong.
    :param min_lag: a job that is not listed yet is polled at most once in so long. Where the list is seen to lag behind
        by more, once in that time.
    :param max_lag: the longest such time, which is also kept while submissions wait for the rate limit.
    :param first_pause: the history is left alone for so long after an error; twice as long after each further one.
    :param longest_pause: at most for so long.
    """

    min_jobs: int = 2
    min_interval: float = 2.0
    max_interval: float = 15.0
    interval_per_age: float = 0.05
    pages_at_once: int = 4
    vouched_for: float = 10.0
    poll_anyway: float = 300.0
    min_lag: float = 3.0
    max_lag: float = 15.0
    first_pause: float = 30.0
    longest_pause: float = 600.0


DEFAULT_SWEEP_POLICY: Final = SweepPolicy()
