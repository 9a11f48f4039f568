"""What one try of a batch wants: its rendered arguments, read and pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_kandinsky.batch.errors import RequestsChangedError
from airflow_provider_kandinsky.batch.items import by_position, read_items
from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.pin import Pin
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.segmind.errors import BadRequestError, KandinskyError
from airflow_provider_kandinsky.tasks.arguments import BASE64_NEEDS_OUTPUT_PATH

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.durable.records import Item
    from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the processes of one try want.

    :param state: the items, and how far each has come.
    :param pinned: what the try began with, for a process that cannot read it from the store.
    :param output_path: where the images go, if anywhere.
    :param changed: the error if the arguments render to something else now. Then nothing more is submitted, but what
        was submitted is delivered.
    """

    state: BatchState
    pinned: dict[str, Any] | None
    output_path: OutputPath | None = None
    changed: KandinskyError | None = None

    @classmethod
    def of_try(
        cls,
        task: KandinskyTextToImageBatchOperator,
        context: Context,
        base_url: str,
        ledger: BatchLedger,
        *,
        is_resumed: bool,
        pinned: Mapping[str, Any] | None,
    ) -> Self:
        """Read what is wanted. The first process of a try pins it, and pushes it as XCom ``arguments``.

        :param is_resumed: whether this is a later one.
        :param pinned: what the try began with, where there is no store.
        :raises BadRequestError: the arguments are refused by the first process. Nothing was submitted.
        """
        before = (Pin.from_dict(pinned) if pinned else ledger.read_pin()) if is_resumed else None
        items: list[Item] = []
        output_path: OutputPath | None = None
        changed: KandinskyError | None = None
        try:
            items = read_items(
                task.requests,
                {name: getattr(task, name) for name in task.shared_arguments},
                context,
                base_url,
                task.model,
                reuse=task.reuse,
            )
            output_path = _output_path(task, items)
            before = ledger.pin(items, before)
        except RequestsChangedError as error:
            changed = error
        except BadRequestError as error:
            if before is None:
                raise
            items, changed = [], error
        if changed is not None:
            ledger.read_all()
        if not is_resumed:
            payloads = by_position(items, lambda item: item.request.payload())
            if len(payloads) <= task.max_xcom_items:
                context["ti"].xcom_push(key="arguments", value=payloads)
        state = BatchState.of_task(context, task.model, items, ledger)
        return cls(state, None if before is None else before.to_dict(), output_path, changed)


def _output_path(task: KandinskyTextToImageBatchOperator, items: list[Item]) -> OutputPath | None:
    """Where the images go; many images, or images as bytes, need a place."""
    if task.output_path:
        samples = max((item.samples for item in items), default=1)
        has_keys = all(item.own_key is not None for item in items)
        return OutputPath(task.output_path, samples, len(items), has_keys=has_keys)
    if (rows := sum(len(item.positions) for item in items)) > task.max_xcom_items:
        raise BadRequestError(
            f"{rows} requests need an output_path: the results of more than max_xcom_items={task.max_xcom_items!r} "
            "are not put into XCom, but into a manifest. Nothing was submitted."
        )
    if any(item.request.base64 for item in items):
        raise BadRequestError(BASE64_NEEDS_OUTPUT_PATH)
    return None
