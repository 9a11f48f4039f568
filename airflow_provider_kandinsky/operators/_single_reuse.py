"""What a running task of one generation needs to deliver stored images again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.ledger import argument_hashes
from airflow_provider_kandinsky.observability.lineage import Lineage
from airflow_provider_kandinsky.operators._reuse import index_of
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.results.delivery import OnStored, deliver_again
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.results.reuse_entry import StoredRequest
from airflow_provider_kandinsky.segmind.request import TextToImageRequest, fingerprint
from airflow_provider_kandinsky.segmind.schemas import GenerationResult


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
