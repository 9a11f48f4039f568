"""Many generations in one task, beside as many mapped tasks of this package and of the vendor's SDK.

``python -m benchmarks.batch`` prints a table and writes JSON; for what is measured and how see
:mod:`benchmarks.airflow`. A thousand mapped tasks of the vendor's SDK are not run: they are taken to last ten times as
long as a hundred.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.airflow import CONFIGURATIONS, GENERATIONS, Timing, time_run
from benchmarks.table import publish

LARGE: int = 10 * GENERATIONS


def row(timing: Timing, items: int, mapped: Timing, vendor_sdk: Timing) -> dict[str, Any]:
    """A timing as a row of the table.

    :param items: how many generations it was for.
    :param mapped: this package's mapped tasks, for 100 generations.
    :param vendor_sdk: the vendor's SDK in mapped tasks, for 100 generations.
    """
    scale = items / GENERATIONS
    return {
        "seconds": round(timing.seconds, 1),
        "of mapped": round(timing.seconds / (mapped.seconds * scale), 3),
        "of vendor_sdk": round(timing.seconds / (vendor_sdk.seconds * scale), 3),
        "worker-seconds": round(timing.worker_seconds, 1),
        "worker starts": timing.worker_starts,
        "submissions": timing.submissions,
        "polls": timing.polls,
    }


def main() -> None:
    """Time all ways."""
    run = partial(time_run, configuration=CONFIGURATIONS["airflow"])
    vendor_sdk, mapped = run("vendor_sdk"), run("kandinsky")
    batches = {items: run("kandinsky_batch", {"items": items}) for items in (GENERATIONS, LARGE)}
    rows = {
        f"vendor_sdk, {GENERATIONS} mapped": row(vendor_sdk, GENERATIONS, mapped, vendor_sdk),
        f"kandinsky, {GENERATIONS} mapped": row(mapped, GENERATIONS, mapped, vendor_sdk),
    } | {f"batch of {items}": row(timing, items, mapped, vendor_sdk) for items, timing in batches.items()}
    publish("batch", rows)


if __name__ == "__main__":
    main()
