"""A seed for each task instance that was given none."""

from __future__ import annotations

import hashlib

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.loops import loop_index


def derive_seed(context: Context, *item: str | int) -> int:
    """A seed for a task instance that was given none: the same in every try, another in every other task instance and
    in every other iteration of a task loop.

    So payloads are unique, a retry repeats the image, and a request found in the history is certainly this task's.

    :param item: what distinguishes the items of one task.
    :return: 0 to 2147483647.
    """
    ti, index = context["ti"], loop_index(context)
    iteration = () if index is None else (f"iteration {index}",)
    return seed_from_names(
        ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, *iteration, *item
    )


def seed_from_names(dag_id: str, run_id: str, task_id: str, map_index: int, *item: str | int) -> int:
    """A seed that is made from names; see :func:`derive_seed`."""
    name = "\n".join((dag_id, run_id, task_id, str(map_index), *map(str, item)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
