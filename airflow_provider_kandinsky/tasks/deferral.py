"""How a task lets go of its worker: until its job is finished, a rate limit resets, or the day ends."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, NoReturn

import pendulum
from airflow.sdk import BaseOperator, Context

from airflow_provider_kandinsky.durable.errors import BudgetExceededError
from airflow_provider_kandinsky.results.triggerer_delivery import TriggererDelivery
from airflow_provider_kandinsky.segmind.errors import KandinskyError, RateLimitedError
from airflow_provider_kandinsky.segmind.http.rate_limit import SUBMIT_RESUME_DELAY, SUBMIT_RESUME_SPREAD
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER
from airflow_provider_kandinsky.triggers.batch import KandinskyBatchTrigger
from airflow_provider_kandinsky.triggers.hand_over import HandOverRule, PendingJob
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger
from airflow_provider_kandinsky.triggers.min_lifetime import MIN_TRIGGER_LIFETIME

#: How long after the trigger's own deadline Airflow's deferral timeout comes, should the triggerer be gone.
_TIMEOUT_MARGIN: Final = timedelta(minutes=5)
#: How many times in a row a submission is deferred to a reset. With a minute each that is half an hour or more.
MAX_RESETS: Final = 30
#: Tasks that wait for the next day resume within so many seconds after its beginning.
_DAY_SPREAD: Final = 120.0


def deferral_timeout(deadline: float) -> timedelta:
    """The ``timeout`` of a deferral, a backstop for the trigger's own deadline.

    :param deadline: the trigger's, in seconds since the epoch.
    """
    return timedelta(seconds=max(0.0, deadline - time.time())) + _TIMEOUT_MARGIN


def defer_until_done(
    task: BaseOperator,
    context: Context,
    output_path: str | None,
    deadline: float,
    *,
    kwargs: dict[str, Any] | None = None,
    **trigger_kwargs: Any,
) -> NoReturn:
    """Defer until a job is finished. The triggerer ends the task if it can; else ``execute_complete`` resumes it.

    :param output_path: the task's, which decides whether a worker is needed at the end.
    :param deadline: when to stop waiting, seconds since the epoch.
    :param kwargs: for ``execute_complete``.
    :param trigger_kwargs: for :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
    """
    delivery = TriggererDelivery.plan(task, context, output_path)
    trigger = KandinskyJobTrigger(deadline=deadline, delivery=asdict(delivery) if delivery else None, **trigger_kwargs)
    task.defer(trigger=trigger, method_name="execute_complete", kwargs=kwargs, timeout=deferral_timeout(deadline))


def defer_until_enough(
    task: BaseOperator,
    jobs: Sequence[PendingJob],
    rule: HandOverRule,
    *,
    kwargs: dict[str, Any],
    **trigger_kwargs: Any,
) -> NoReturn:
    """Defer until enough jobs of a batch are over; ``execute_complete`` then goes on.

    :param rule: how many are enough.
    :param kwargs: for ``execute_complete``.
    :param trigger_kwargs: for :class:`~airflow_provider_kandinsky.triggers.batch.KandinskyBatchTrigger`.
    """
    trigger = KandinskyBatchTrigger([asdict(job) for job in jobs], hand_over=rule.to_dict(), **trigger_kwargs)
    timeout = deferral_timeout(max(job.deadline for job in jobs))
    task.defer(trigger=trigger, method_name="execute_complete", kwargs=kwargs, timeout=timeout)


def resume_delay(error: KandinskyError | None) -> float:
    """Seconds until a refused submission is to be made again. Those of all tasks that hit the limit are spread, and
    those that poll go first.

    The service's ``Retry-After`` is capped at a minute, because its limits are per minute, and is at least
    :data:`~airflow_provider_kandinsky.triggers.min_lifetime.MIN_TRIGGER_LIFETIME`.

    :param error: the refusal, if there was one.
    """
    hint = error.retry_after if isinstance(error, RateLimitedError) else None
    wait = min(max(MAX_RETRY_AFTER if hint is None else hint, MIN_TRIGGER_LIFETIME), MAX_RETRY_AFTER)
    return wait + SUBMIT_RESUME_DELAY + random.uniform(0, SUBMIT_RESUME_SPREAD)


def day_end(error: BudgetExceededError) -> float:
    """When the day of a used-up budget has ended, a little later for each task; seconds since the epoch."""
    now = time.time()
    until = now if error.until is None else error.until
    return max(until, now + MIN_TRIGGER_LIFETIME) + random.uniform(0, _DAY_SPREAD)


def defer_until(task: BaseOperator, moment: float, kwargs: Mapping[str, Any]) -> NoReturn:
    """Defer a submission; ``execute_after_reset`` makes it.

    :param moment: until when, seconds since the epoch.
    :param kwargs: for ``execute_after_reset``.
    """
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger  # seldom needed, slow to import

    trigger = DateTimeTrigger(pendulum.from_timestamp(moment))
    task.defer(trigger=trigger, method_name="execute_after_reset", kwargs=dict(kwargs))
