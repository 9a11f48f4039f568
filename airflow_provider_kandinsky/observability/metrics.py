"""The metrics of jobs and their cost, and their names.

They go through Airflow's metrics backend (StatsD, Datadog, OpenTelemetry). Plain StatsD drops tags, so, like Airflow's
legacy metrics, tagged counters are also emitted with the tag value in the name.
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

#: Airflow creates its client on first use; without a lock, two threads would each create one.
_stats_lock: Final = threading.Lock()


class Metric(StrEnum):
    """The names."""

    SUBMITTED = "kandinsky.submitted"
    REATTACHED = "kandinsky.reattached"
    REUSED = "kandinsky.reused"
    COMPLETED = "kandinsky.completed"
    FAILED = "kandinsky.failed"
    COST = "kandinsky.cost"
    POLLS = "kandinsky.polls"
    INFERENCE_TIME = "kandinsky.inference_time"
    QUEUE_TIME = "kandinsky.queue_time"


class JobMetrics:
    """The metrics of one task's jobs. Emitting a metric never fails the task; errors are logged.

    :param stats: returns Airflow's ``Stats``.
    :param ti: the task instance; its DAG id and task id become tags.
    :param model: the slug, if known; a tag, too.
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
        """For use in the triggerer, in a thread: a metrics client may block on DNS or its socket."""
        return cls(triggerer_stats, ti, model)

    def submitted(self) -> None:
        """A job was submitted, and its id is known."""
        self._count(Metric.SUBMITTED)

    def reattached(self, source: Literal["ledger", "history"]) -> None:
        """A try re-attached to a job that was submitted before.

        :param source: where the job was found: the ledger in Airflow, or the service's request history.
        """
        self._count(Metric.REATTACHED, source=source)

    def reused(self) -> None:
        """A stored image was delivered again, and nothing was submitted."""
        self._count(Metric.REUSED)

    def completed(self, result: GenerationResult) -> None:
        """A job's result was delivered."""
        self._count(Metric.COMPLETED)
        self._count(Metric.COST, result.cost)
        self._count(Metric.POLLS, result.polls)
        self._emit("timing", Metric.INFERENCE_TIME, result.inference_time)
        self._emit("timing", Metric.QUEUE_TIME, result.queue_time)

    def failed(self, error: KandinskyError) -> None:
        """A try, or an item of a batch, failed."""
        self._count(Metric.FAILED, error_type=type(error).__name__)

    def polled(self) -> None:
        """A sensor polled a job."""
        self._count(Metric.POLLS)

    def _count(self, metric: Metric, count: float | None = 1, **tags: str) -> None:
        self._emit("incr", metric, count, **tags)

    def _emit(self, method: Literal["incr", "timing"], metric: Metric, value: float | None, **tags: str) -> None:
        """Emit a metric, if its value is known."""
        try:
            if value is None or number_in(value) is None:
                return  # not a finite number; it may have come through an event
            with _stats_lock:
                emit = getattr(self._stats(), method)
                amount = timedelta(seconds=value) if method == "timing" else value
                emit(str(metric), amount, tags=self._tags | tags)
                if tags and conf.getboolean("metrics", "legacy_names_on", fallback=True):
                    emit(".".join([metric, *tags.values()]), amount, tags=self._tags)
        except Exception:  # a metrics client, perhaps a user's own, may raise anything
            log.warning("Could not emit metric %s", metric, exc_info=True)
