"""What a retry policy reschedules, where the Airflow can do that (3.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction

    from airflow_provider_kandinsky.retry_policy import KANDINSKY_RETRY_POLICY
except ImportError:
    CAN_RESCHEDULE = False
else:
    CAN_RESCHEDULE = hasattr(RetryAction, "RESCHEDULE")


def in_a_hurry(**bounds: Any) -> dict[str, Any]:
    """The policy as it is, but for its delays."""
    rules = [replace(rule, retry_delay=timedelta(seconds=2), **bounds) for rule in KANDINSKY_RETRY_POLICY.rules[:2]]
    return {"retry_policy": ExceptionRetryPolicy(rules=rules), "retry_delay": timedelta(seconds=2)}


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def rescheduled():
    KandinskyTextToImageOperator(task_id="single", prompt="a cat", **in_a_hurry())


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def rescheduled_batch():
    KandinskyTextToImageBatchOperator(
        task_id="batch", requests=["c", "d"], max_in_flight=1, deferrable=True, **in_a_hurry()
    )


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def rescheduled_in_vain():
    KandinskyTextToImageOperator(task_id="credits", prompt="a dog", retries=3, **in_a_hurry(max_reschedules=2))


if CAN_RESCHEDULE:
    rescheduled()
    rescheduled_batch()
    rescheduled_in_vain()
