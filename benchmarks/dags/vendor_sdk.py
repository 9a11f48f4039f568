"""The vendor's SDK in a task, as its documentation shows it: a worker is held until the picture is there."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import dag, task


@task
def paint(prompt: str) -> str:
    import segmind

    client = segmind.SegmindClient(base_url=f"{os.environ['SEGMIND_URL']}/v1")
    url: str = client.run("kandinsky2.1-txt2im", prompt=prompt)["output"]
    return url


@dag(schedule=None, start_date=datetime(2026, 1, 1))
def vendor_sdk():
    paint.expand(prompt=[f"cat {number}" for number in range(100)])


vendor_sdk()
