"""The index of stored images beside the output path of a running task."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.loops import loop_index
from airflow_provider_kandinsky.operators._base import GenerationOperator
from airflow_provider_kandinsky.results.claims import Claims
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse import ReuseIndex


def index_of(task: GenerationOperator, context: Context, output_path: OutputPath | None) -> ReuseIndex | None:
    """The index beside a task's images; ``None`` if nothing is to be reused."""
    if not task.reuse or output_path is None:
        return None
    ti, iteration = context["ti"], loop_index(context)
    origin: dict[str, Any] = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}
    if ti.map_index not in (None, -1):
        origin["map_index"] = ti.map_index
    if iteration is not None:
        origin["iteration"] = iteration
    # Another deployment may use the same names; only the run's start is its own.
    started = getattr(context.get("dag_run"), "start_date", None)
    owner = "\n".join(map(str, (*origin.values(), started)))
    return ReuseIndex(output_path, Claims(owner, task.timeout, task.claim_policy), origin)
