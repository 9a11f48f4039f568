"""What a running task of either operator needs to deliver stored images again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_kandinsky.compat.loops import loop_index
from airflow_provider_kandinsky.durable.ledger import argument_hashes
from airflow_provider_kandinsky.observability.lineage import Lineage
from airflow_provider_kandinsky.results.claims import Claims
from airflow_provider_kandinsky.results.delivery import OnStored, deliver_again
from airflow_provider_kandinsky.results.reuse import ClaimedElsewhere as ClaimedElsewhere
from airflow_provider_kandinsky.results.reuse import ReuseIndex, StoredRequest
from airflow_provider_kandinsky.results.reuse import ReuseIndexError as ReuseIndexError
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, TextToImageRequest, fingerprint

if TYPE_CHECKING:
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    from airflow.sdk import Context

    from airflow_provider_kandinsky.operators._base import GenerationOperator
    from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


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


class SingleReuse:
    """What a task of one generation needs of it.

    :param task: its arguments, rendered.
    """

    def __init__(self, task: KandinskyTextToImageOperator, context: Context) -> None:
        self._task = task
        self._context = context

    def index(self, request: TextToImageRequest) -> ReuseIndex | None:
        """See :func:`index_of`."""
        task = self._task
        path = OutputPath(task.output_path, request.samples or 1) if task.reuse and task.output_path else None
        return index_of(task, self._context, path)

    def on_stored(self, base_url: Callable[[], str]) -> OnStored | None:
        """What indexes the images once they are stored; see :func:`~.results.delivery.deliver`."""
        return partial(self._note_stored, base_url) if self._task.reuse else None

    def _note_stored(self, base_url: Callable[[], str], result: GenerationResult, uris: Sequence[str]) -> None:
        task = self._task
        if task.prompt is None or task.seed in (None, -1):
            return  # what was sent is not known any more, or is another image each time
        request = task.build_request(self._context)
        payload = request.payload()
        key = fingerprint(base_url(), task.model, payload)
        if (index := self.index(request)) is not None:
            index.note({key: (result, uris, {"arguments": argument_hashes(task.model, payload)})})

    def deliver_again(self, stored: StoredRequest) -> list[str]:
        """Deliver images for which nothing was submitted."""
        self._task.lineage = Lineage.of(stored.result(), stored.uris, self._task.prompt, reused=True)
        self._context["ti"].xcom_push(key="request_id", value=stored.request_id)
        return deliver_again(stored, self._context)


def claim_trigger(task: GenerationOperator) -> DateTimeTrigger:
    """The trigger that fires when a task is to ask again whether another task is done."""
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger  # seldom needed, slow to import

    return DateTimeTrigger(pendulum.now("UTC").add(seconds=task.claim_policy.interval))
