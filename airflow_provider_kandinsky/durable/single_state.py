"""One generation, and how far it has come: also where its arguments have changed since it was submitted."""

from __future__ import annotations

import logging
from typing import Self

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.ledger import JobLedger, argument_hashes
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.durable.seeds import derive_seed
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.durable.state import JobState
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.request import TextToImageRequest, fingerprint

log = logging.getLogger(__name__)


class SingleState(JobState):
    """The one item of a task.

    :param item: what is wanted.
    :param ledger: the task instance's, read.
    :param metrics: where it is counted.
    """

    _ledger: JobLedger

    def __init__(self, item: Item, ledger: JobLedger, metrics: JobMetrics) -> None:
        super().__init__([item], ledger, metrics)
        self.item = item

    @classmethod
    def of_task(
        cls, context: Context, service: Service, request: TextToImageRequest, request_id: str | None = None
    ) -> Self:
        """What the running task wants.

        :param request_id: where an earlier process of this try has submitted it.
        """
        payload = request.payload()
        key = fingerprint(service.hook.get_conn().base_url, service.model, payload)
        if request_id is None:
            arguments = argument_hashes(service.model, payload)
            ledger = JobLedger.of(context, service.ledger_store(context), arguments).read()
        else:
            ledger = ledger_of_job(context, service, request_id, key)
            key = ledger.record.key if ledger.record else key
        item = Item(key, request, has_own_seed=request.seed == derive_seed(context))
        return cls(item, ledger, JobMetrics.of_task(context["ti"], service.model))

    def log_what_changed(self) -> None:
        """Say why an item is submitted again though an earlier try has submitted one."""
        record = self._ledger.record
        if record is None or self.record(self.item) is not None:
            return
        before = f"request {record.request_id}" if record.request_id else "a request whose id was never learnt"
        if record.key != self.item.key:
            changed = ", ".join(record.changed(self._ledger.arguments)) or "base URL"
            log.warning("%s has changed since %s was submitted; submitting again", changed, before)
        elif not record.is_open:
            log.info("The task was cleared and its seed is -1: a new image is wanted beside that of %s", before)


def ledger_of_job(context: Context, service: Service, request_id: str, key: str = "") -> JobLedger:
    """The ledger with a job that an earlier process of this try has submitted.

    :param key: what the job is called where none is.
    """
    ledger = JobLedger.of(context, service.ledger_store(context)).read(is_resumed=True)
    return ledger.of_job(key, request_id, context["ti"].start_date.timestamp())
