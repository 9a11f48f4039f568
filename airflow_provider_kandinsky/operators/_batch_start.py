"""How a process of a batch begins: with the ledger that it finds, and the run that goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.reuse import BatchReuse
from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.operators._batch_items import push_arguments, read_wanted
from airflow_provider_kandinsky.operators._reuse import index_of
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.segmind.errors import error_from_dict


def open_run(
    task: KandinskyTextToImageBatchOperator,
    context: Context,
    service: Service,
    carried_over: Mapping[str, Any],
    outcomes: Mapping[str, Any] | None,
    *,
    is_resumed: bool,
) -> BatchRun:
    """Open the batch as the task's arguments say. The first process of a try pushes them as XCom ``arguments``.

    :param carried_over: what earlier processes of this try have left; see :meth:`~.batch.run.BatchRun.carry_over`.
    :param outcomes: what became of jobs that were deferred for.
    :param is_resumed: whether an earlier process of this try has begun.
    :raises AirflowFailException: the record of what was deferred for is lost.
    """
    ledger = BatchLedger.read(context, service.ledger_store(context), carried_over, is_resumed=is_resumed)
    if outcomes is not None and carried_over.get("entries") is None and not ledger.is_kept:
        raise AirflowFailException(
            "What the task had submitted was lost on the way through its deferral (as in dag.test()), and no "
            f"record is kept of it: {', '.join(outcomes)}. It is billed, and a clear submits it again"
        )
    items, output_path, changed = read_wanted(task, context, service.hook.get_conn().base_url, ledger)
    if not is_resumed:
        push_arguments(task, context, items)
    state = BatchState.of_task(context, task.model, items, ledger)
    index = index_of(task, context, output_path)
    stopped = carried_over.get("stopped")
    return BatchRun(
        state,
        service,
        began_at=context["ti"].start_date.timestamp(),
        timeout=task.timeout,
        group_size=task.group_size,
        poll_interval=task.poll_interval,
        output_path=output_path,
        max_cost=task.max_cost,
        stopped=changed or (error_from_dict(stopped) if stopped else None),
        reuse=None if index is None else BatchReuse(state, index, task.model),
    )
