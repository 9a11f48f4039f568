"""What a cleared task may have submitted before, of which nothing is recorded.

Airflow 3.4 discards the task state store when a user clears a task, unless he has it kept; so does Airflow 3.3 after
success with ``[state_store] clear_on_success``. Whether the earlier tries have submitted anything, the history knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.records import JobRecord
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A task that was cleared, and has no ledger.

    :param since: when its first try can have begun, seconds since the epoch.
    :param until: when this one has, seconds since the epoch.
    :param retries: its ``max_tries`` before it was cleared.
    """

    since: float
    until: float
    retries: int

    @classmethod
    def of_task(cls, context: Context) -> Self | None:
        """The running task instance; ``None`` if it was not cleared.

        A clear adds the tries so far to ``max_tries``, which began as the task's ``retries``.
        """
        ti, retries = context["ti"], context["task"].retries or 0
        if ti.max_tries <= retries:
            return None
        until = ti.start_date.timestamp()
        # What is older than the service's images is of no use.
        return cls(max(context["dag_run"].run_after.timestamp(), until - IMAGE_LIFETIME), until, retries)

    def record(self, key: str) -> JobRecord:
        """An intent, as an earlier try may have left it.

        :param key: the item's.
        """
        return JobRecord(key, 0, self.retries, intended_at=self.since, send_by=self.until, presumed=True)
