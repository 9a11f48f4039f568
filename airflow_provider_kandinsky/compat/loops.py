"""Task loops (Airflow 3.4), whose iterations share DAG, run, task and map index. Older Airflows have none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


def supports_loops() -> bool:
    """Whether there are task loops: since Airflow 3.4."""
    from airflow import sdk

    return hasattr(sdk, "LoopDecision")


def loop_index(context: Context) -> int | None:
    """The iteration, from 0; ``None`` outside of loops."""
    loop: Any = context.get("loop")
    return None if loop is None else loop.index


def loop_region(ti: Any) -> str | None:
    """What distinguishes the task instances of a loop's iterations in Airflow's API. ``None`` where Airflow needs none.

    :param ti: the task instance in its worker.
    :return: the region's id, a dot, and the index in it.
    """
    region_id = getattr(ti, "region_id", None)
    # Outside of loops, and of mapped tasks, it is all zeros.
    return f"{region_id}.{ti.region_index}" if region_id is not None and region_id.int else None
