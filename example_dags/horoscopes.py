"""Prompts from code: a function returns the arguments for each row, once there are enough credits."""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor

MOODS = {"fire": "blazing", "earth": "calm", "air": "restless", "water": "deep"}


@dag(
    dag_id="kandinsky_horoscopes",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def horoscopes():
    credits_left = KandinskyCreditsSensor(task_id="credits_left", minimum_credits=1, deferrable=True, timeout=6 * 3600)

    @task
    def signs() -> list[dict[str, str]]:
        return [
            {"sign": "Leo", "element": "fire"},
            {"sign": "Virgo", "element": "earth"},
            {"sign": "Pisces", "element": "water"},
        ]

    @task.kandinsky(deferrable=True, negative_prompt="text, letters")
    def paint(row: dict[str, str]) -> dict[str, Any]:
        return {
            "prompt": f"{row['sign']} as a constellation over a {MOODS[row['element']]} landscape, woodcut",
            "num_inference_steps": 30 if row["element"] == "fire" else 20,
        }

    rows = signs()
    credits_left >> rows
    paint.expand(row=rows)


horoscopes()
