"""Many generations in one task, beside as many mapped tasks of this package and of the vendor's SDK.

``python -m benchmarks.batch`` prints a table and writes JSON; for what is measured and how see
:mod:`benchmarks.airflow`. A thousand mapped tasks of the vendor's SDK are not run: they are taken to last ten times as
long as a hundred. Of the jobs of some batches a few take much longer: they should delay nothing but themselves.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.airflow import CONFIGURATIONS, GENERATIONS, Timing, time_run
from benchmarks.table import publish

LARGE: int = 10 * GENERATIONS
#: Of the jobs this share takes so many seconds.
STRAGGLERS: dict[str, Any] = {"straggler_share": 0.02, "straggler_latency": 60.0}
#: The DAGs, and what is added to the name of their rows.
WAYS = {"kandinsky_batch": "", "kandinsky_batch_in_worker": ", in a worker"}


def row(timing: Timing, items: int, mapped: Timing, vendor_sdk: Timing) -> dict[str, Any]:
    """A timing as a row of the table.

    :param items: how many generations it was for.
    :param mapped: this package's mapped tasks, for 100 generations.
    :param vendor_sdk: the vendor's SDK in mapped tasks, for 100 generations.
    """
    scale = items / GENERATIONS
    return {
        "time to the end, s": round(timing.seconds, 1),
        "of mapped": round(timing.seconds / (mapped.seconds * scale), 3),
        "of the SDK": round(timing.seconds / (vendor_sdk.seconds * scale), 3),
        "worker-seconds": round(timing.worker_seconds, 1),
        "worker starts": timing.worker_starts,
        "submissions": timing.submissions,
        "polls": timing.polls,
    }


def main() -> None:
    """Time all ways."""
    run = partial(time_run, configuration=CONFIGURATIONS["airflow"])
    vendor_sdk, mapped = run("vendor_sdk"), run("kandinsky")
    batches = {f"batch of {GENERATIONS}": (GENERATIONS, run("kandinsky_batch", {"items": GENERATIONS}))}
    for dag_id, way in WAYS.items():
        for settings, jobs in (({}, ""), (STRAGGLERS, ", 2 % of the jobs taking 60 s")):
            batches[f"batch of {LARGE}{way}{jobs}"] = (LARGE, run(dag_id, {"items": LARGE}, **settings))
    rows = {
        f"the vendor's SDK, {GENERATIONS} mapped": row(vendor_sdk, GENERATIONS, mapped, vendor_sdk),
        f"this operator, {GENERATIONS} mapped": row(mapped, GENERATIONS, mapped, vendor_sdk),
    } | {name: row(timing, items, mapped, vendor_sdk) for name, (items, timing) in batches.items()}
    publish("batch", rows)


if __name__ == "__main__":
    main()
