"""How a process of a batch begins: with the ledger that it finds, and the run that goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.reuse import BatchReuse
from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.operators._batch_items import Wanted
from airflow_provider_kandinsky.operators._reuse import index_of
from airflow_provider_kandinsky.segmind.errors import error_from_dict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


def open_run(
    task: KandinskyTextToImageBatchOperator,
    context: Context,
    service: Service,
    *,
    is_resumed: bool,
    outcomes: Mapping[str, Any] | None,
    entries: Sequence[Mapping[str, Any]] | None,
    stopped: dict[str, Any] | None,
    pinned: Mapping[str, Any] | None,
) -> tuple[BatchRun, dict[str, Any] | None]:
    """Open the batch as the task's arguments say; for the parameters see :meth:`~._batch.BatchTask.run`.

    :return: the batch, and what the try began with, for a process that cannot read it from the store.
    :raises AirflowFailException: the record of what was deferred for is lost.
    """
    ledger = _read_ledger(task, context, service.ledger_path, entries, outcomes, is_resumed=is_resumed)
    base_url = service.hook.get_conn().base_url
    wanted = Wanted.of_try(task, context, base_url, ledger, is_resumed=is_resumed, pinned=pinned)
    index = index_of(task, context, wanted.output_path)
    run = BatchRun(
        wanted.state,
        service,
        began_at=context["ti"].start_date.timestamp(),
        timeout=task.timeout,
        group_size=task.group_size,
        poll_interval=task.poll_interval,
        output_path=wanted.output_path,
        max_cost=task.max_cost,
        stopped=wanted.changed or (error_from_dict(stopped) if stopped else None),
        reuse=BatchReuse.of(wanted.state, index, wanted.output_path, task.model),
    )
    return run, wanted.pinned


def _read_ledger(
    task: KandinskyTextToImageBatchOperator,
    context: Context,
    ledger_path: str | None,
    entries: Sequence[Mapping[str, Any]] | None,
    outcomes: Mapping[str, Any] | None,
    *,
    is_resumed: bool,
) -> BatchLedger:
    """What earlier processes and tries have submitted."""
    ledger = BatchLedger.read(
        context, durable=task.durable, ledger_path=ledger_path, carried_over=entries or (), is_resumed=is_resumed
    )
    if outcomes is not None and entries is None and not ledger.is_kept:
        raise AirflowFailException(
            "What the task had submitted was lost on the way through its deferral (as in dag.test()), and no "
            f"record is kept of it: {', '.join(outcomes)}. It is billed, and a clear submits it again"
        )
    return ledger
