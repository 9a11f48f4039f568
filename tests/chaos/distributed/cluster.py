"""Airflow as it is where there are many machines: the CeleryExecutor, several workers, several triggerers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from celery import Celery

from demo.local_airflow import LocalAirflow

from .services import Postgres, Redis

TRIGGERERS = ("triggerer", "triggerer-2")
WORKERS = ("celery-worker", "celery-worker-2")
#: Tasks that a worker runs at a time. Each needs a core to start.
CONCURRENCY = 2


class CeleryAirflow(LocalAirflow):
    """Airflow with two Celery workers and two triggerers, on PostgreSQL and Redis.

    :param home: see :class:`~demo.local_airflow.LocalAirflow`.
    :param env: see there.
    """

    def __init__(self, home: Path, postgres: Postgres, redis: Redis, env: Mapping[str, str]) -> None:
        self.postgres = postgres
        self.redis = redis
        celery = {
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(CONCURRENCY),
            # Else every third task holds its worker for seconds after its end: see docs/operator.md, "Deferrable".
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # What a dead worker had taken out of the queue is given to another after so many seconds.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "30",
            # What was on its way when Redis died is in no queue any more; the scheduler then sends it again.
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
        }
        super().__init__(
            home,
            components=("api-server", "scheduler", "dag-processor", *TRIGGERERS, *WORKERS),
            executor="CeleryExecutor",
            database=postgres.url,
            parallelism=2 * CONCURRENCY * len(WORKERS),
            env=celery | dict(env),
        )

    def triggers(self) -> dict[int, int]:
        """How many triggers each triggerer runs, by the id of its job."""
        rows = self.postgres.rows(
            "SELECT triggerer_id, count(*) FROM trigger WHERE triggerer_id IS NOT NULL GROUP BY 1"
        )
        return dict(rows)

    def _arguments(self, component: str) -> list[str]:
        if component in WORKERS:
            return ["celery", "worker", "--celery-hostname", _address(component), "--skip-serve-logs"]
        return super()._arguments(component)

    def _is_ready(self, component: str) -> bool:
        if component in WORKERS:
            with Celery(broker=self.redis.url) as celery:
                return bool(celery.control.ping([_address(component)], timeout=1))
        return super()._is_ready(component)


def _address(worker: str) -> str:
    """What Celery calls a worker."""
    return f"{worker}@127.0.0.1"
