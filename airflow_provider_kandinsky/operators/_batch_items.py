"""What one try of a batch wants: its rendered arguments, read and pinned."""

from __future__ import annotations

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.errors import RequestsChangedError
from airflow_provider_kandinsky.batch.items import by_position, read_items
from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.segmind.errors import BadRequestError, KandinskyError
from airflow_provider_kandinsky.tasks.arguments import BASE64_NEEDS_OUTPUT_PATH


def read_wanted(
    task: KandinskyTextToImageBatchOperator, context: Context, base_url: str, ledger: BatchLedger
) -> tuple[list[Item], OutputPath | None, KandinskyError | None]:
    """Read what a try wants. Its first process pins that in the ledger.

    :return: the items; where the images go, if anywhere; and the error if the arguments render to something else now.
        Then nothing more is submitted, but what was submitted is delivered.
    :raises BadRequestError: the arguments are refused by the first process. Nothing was submitted.
    """
    items: list[Item] = []
    output_path: OutputPath | None = None
    try:
        requests, defaults = task._requests_and_defaults()
        items = read_items(requests, defaults, context, base_url, task.model, reuse=task.reuse)
        output_path = _output_path(task, items)
        ledger.pin(items)
    except RequestsChangedError as error:
        ledger.read_all()
        return items, output_path, error
    except BadRequestError as error:
        if ledger.pinned is None:
            raise
        ledger.read_all()
        return [], output_path, error
    return items, output_path, None


def push_arguments(task: KandinskyTextToImageBatchOperator, context: Context, items: list[Item]) -> None:
    """Push what is wanted as XCom ``arguments``, unless it is too much."""
    if _count_rows(items) <= task.max_xcom_items:
        context["ti"].xcom_push(key="arguments", value=by_position(items, lambda item: item.request.payload()))


def _count_rows(items: list[Item]) -> int:
    return sum(len(item.positions) for item in items)


def _output_path(task: KandinskyTextToImageBatchOperator, items: list[Item]) -> OutputPath | None:
    """Where the images go; many images, or images as bytes, need a place."""
    if task.output_path:
        samples = max((item.samples for item in items), default=1)
        has_keys = all(item.own_key is not None for item in items)
        return OutputPath(task.output_path, samples, len(items), has_keys=has_keys)
    if (rows := _count_rows(items)) > task.max_xcom_items:
        raise BadRequestError(
            f"{rows} requests need an output_path: the results of more than max_xcom_items={task.max_xcom_items!r} "
            "are not put into XCom, but into a manifest. Nothing was submitted."
        )
    if any(item.request.base64 for item in items):
        raise BadRequestError(BASE64_NEEDS_OUTPUT_PATH)
    return None
