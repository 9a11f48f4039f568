"""What is counted of jobs and of the money they cost, and under which names.

It goes through Airflow's Stats, to wherever Airflow's own metrics go (StatsD, Datadog, OpenTelemetry). Where tags get
lost on the way, as in plain StatsD, what distinguishes is told once more in a name, as Airflow does with its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Self

from airflow.configuration import conf

from airflow_provider_kandinsky.compat.airflow import task_stats, triggerer_stats
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.segmind.wire.values import number_in

log = logging.getLogger(__name__)

#: Airflow makes its client on first use, and of two threads at once each would make one.
_stats_lock: Final = threading.Lock()


class Metric(StrEnum):
    """Every name that is used."""

    SUBMITTED = "kandinsky.submitted"
    REATTACHED = "kandinsky.reattached"
    COMPLETED = "kandinsky.completed"
    FAILED = "kandinsky.failed"
    COST = "kandinsky.cost"
    POLLS = "kandinsky.polls"
    INFERENCE_TIME = "kandinsky.inference_time"
    QUEUE_TIME = "kandinsky.queue_time"


class JobMetrics:
    """The metrics of one task's jobs. Whatever goes wrong with them is logged, and never the task's problem.

    :param stats: gives Airflow's.
    :param ti: the task instance, whose names become tags.
    :param model: the slug, where it is known.
    """

    def __init__(self, stats: Callable[[], Any], ti: Any, model: str | None) -> None:
        self._stats = stats
        self._tags = {"dag_id": ti.dag_id, "task_id": ti.task_id} | ({"model": model} if model else {})

    @classmethod
    def of_task(cls, ti: Any, model: str | None = None) -> Self:
        """For use in a worker."""
        return cls(task_stats, ti, model)

    @classmethod
    def of_trigger(cls, ti: Any, model: str | None = None) -> Self:
        """For use in the triggerer: in a thread, because a client may look up its host or wait for its socket."""
        return cls(triggerer_stats, ti, model)

    def submitted(self) -> None:
        """A job was bought, and its id is known."""
        self._count(Metric.SUBMITTED)

    def reattached(self, source: Literal["ledger", "history"]) -> None:
        """A job that had been bought before was taken up.

        :param source: what told of it: the record in Airflow, or the service's request history.
        """
        self._count(Metric.REATTACHED, source=source)

    def completed(self, result: GenerationResult) -> None:
        """A job's result was taken in."""
        self._count(Metric.COMPLETED)
        if result.cost is not None:
            self._count(Metric.COST, result.cost)
        if result.polls is not None:
            self._count(Metric.POLLS, result.polls)
        for metric, seconds in (
            (Metric.INFERENCE_TIME, result.inference_time),
            (Metric.QUEUE_TIME, result.queue_time),
        ):
            if seconds is not None:
                self._tell("timing", metric, seconds)

    def failed(self, error: KandinskyError) -> None:
        """A try, or in a batch one of its items, has failed."""
        self._count(Metric.FAILED, error_type=type(error).__name__)

    def polled(self) -> None:
        """A job was looked at by one that does not wait."""
        self._count(Metric.POLLS)

    def _count(self, metric: Metric, count: float = 1, **tags: str) -> None:
        self._tell("incr", metric, count, **tags)

    def _tell(self, method: Literal["incr", "timing"], metric: Metric, value: float, **tags: str) -> None:
        try:
            if number_in(value) is None:
                return  # it came from elsewhere, perhaps through an event, and counts nothing
            with _stats_lock:
                tell = getattr(self._stats(), method)
                told = timedelta(seconds=value) if method == "timing" else value
                tell(str(metric), told, tags=self._tags | tags)
                if tags and conf.getboolean("metrics", "legacy_names_on", fallback=True):
                    tell(".".join([metric, *tags.values()]), told, tags=self._tags)
        except Exception:  # whatever a client may raise; there are those of users, too
            log.warning("The metric %s could not be told", metric, exc_info=True)
