"""The plain deferrable operator: see ``benchmarks/plain.py``."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import dag

from benchmarks.plain import PlainOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def plain_operator():
    PlainOperator.partial(task_id="paint").expand(prompt=[f"cat {number}" for number in range(100)])


plain_operator()
