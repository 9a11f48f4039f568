"""How long, and how often, a request is sent again."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import tenacity

from airflow_provider_kandinsky.segmind.constants import SUBMIT_RETRY_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import RateLimitedError, ServiceUnavailableError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retries of submissions and of calls to the history.

    For a submission, ServiceUnavailableError means that nothing was sent; see :meth:`~.call.Call.transport_error`.

    :param timeout: seconds from the first try in which another one may begin.
    :param jitter: seconds that are added to a wait, so that processes do not retry together.
    """

    timeout: float = SUBMIT_RETRY_TIMEOUT
    jitter: Callable[[], float] = random.random

    def wait(self, attempt: tenacity.RetryCallState) -> float:
        """Seconds until the next try: the service's Retry-After, or else 1, 2, 4 and then 8; plus the jitter."""
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            return error.retry_after + self.jitter()
        return float(2 ** min(attempt.attempt_number - 1, 3)) + self.jitter()

    def options(self, clock: Callable[[], float], send_by: float | None = None) -> dict[str, Any]:
        """The arguments of tenacity for one call.

        :param clock: wall clock, seconds since the epoch.
        :param send_by: when the last try must have been sent, by that clock; ``None`` for no such limit.
        """

        def is_over(attempt: tenacity.RetryCallState) -> bool:
            is_late = send_by is not None and clock() + attempt.upcoming_sleep > send_by
            # Whichever is longer: an injected sleep takes no time, and a connection that hangs is not a sleep.
            spent = max(attempt.idle_for, attempt.seconds_since_start or 0.0)
            return is_late or spent + attempt.upcoming_sleep > self.timeout

        return {
            "retry": tenacity.retry_if_exception_type((RateLimitedError, ServiceUnavailableError)),
            "wait": self.wait,
            "stop": is_over,
            "before_sleep": self._log_retry,
            "reraise": True,
        }

    def _log_retry(self, attempt: tenacity.RetryCallState) -> None:
        # Unlike in is_over(), tenacity has already added the sleep to the idle time.
        spent = max(attempt.idle_for, (attempt.seconds_since_start or 0.0) + attempt.upcoming_sleep)
        error = attempt.outcome.exception() if attempt.outcome else None
        log.info(
            "Retrying in %.1f s; retries end %.0f s after that: %s", attempt.upcoming_sleep, self.timeout - spent, error
        )


DEFAULT_RETRY_POLICY: Final = RetryPolicy()
