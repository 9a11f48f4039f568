"""Wait for a job that another task has submitted."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from airflow_provider_kandinsky.compat.supervisor_wakeup import WakesSupervisor
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.links.kandinsky import KandinskyImageLink
from airflow_provider_kandinsky.observability.lineage import Lineage, OpenLineageMixin
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.delivery import TriggererDelivery, deliver
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.errors import JobExpiredError, JobTimeoutError, KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, parse_request_id
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller
from airflow_provider_kandinsky.tasks.arguments import DEFERRAL_TIMEOUT_MARGIN, invalid_argument, is_literal
from airflow_provider_kandinsky.tasks.error_translation import (
    apply_soft_fail,
    translate_operator_errors,
    translate_sensor_errors,
)
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger, result_in_event


class KandinskyJobSensor(OpenLineageMixin, WakesSupervisor, BaseSensorOperator):
    """Wait until a job is finished and return its pictures' URLs, in the service's order.

    Meant for a job submitted by
    :class:`~airflow_provider_kandinsky.operators.text_to_image.KandinskyTextToImageOperator` with
    ``wait_for_completion=False``. It never submits anything, so it costs nothing and may be retried at will. XCom
    ``generation`` is pushed with the result.

    A job that failed fails the task at once, or skips it with ``soft_fail``. So does an id of which the service says
    nothing but 404 for a minute (records are kept for one hour after submission); in mode ``reschedule`` a poke that is
    answered 404 lasts that long. Outages, rate limits and refusals of the key are waited out.

    :param request_id: the job; templated.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``; templated.
    :param deferrable: wait in the triggerer, holding no worker slot, with the adaptive cadence of the operator in
        place of ``poke_interval``. Default: ``[operators] default_deferrable``.
    :param output_path: store the pictures there, and return their URIs; as for the operator.
    :param poke_interval: seconds between polls, in the modes poke and reschedule.
    :raises AirflowFailException: the job failed or is not known, or ``request_id`` is none.
    :raises AirflowSensorTimeout: it was not finished within the sensor's ``timeout``.
    """

    template_fields = ("request_id", "kandinsky_conn_id", "output_path")
    operator_extra_links = (KandinskyImageLink(),)
    ui_color = "#f3e9fb"
    #: How the job is polled in the modes poke and reschedule.
    poll_policy = DEFAULT_POLL_POLICY

    def __init__(
        self,
        *,
        request_id: str,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        output_path: str | None = None,
        poke_interval: timedelta | float = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.request_id = request_id
        self.kandinsky_conn_id = kandinsky_conn_id
        self.deferrable = deferrable
        self.output_path = output_path
        self._poller: JobPoller | None = None
        self._last_trouble: type[KandinskyError] | None = None
        with translate_operator_errors():
            if is_literal(request_id):
                self._check_request_id()
            if output_path is not None and is_literal(output_path):
                OutputPath.check_template(output_path)

    def execute(self, context: Context) -> Any:
        """Poke, or defer, as the arguments say."""
        with apply_soft_fail(self), translate_sensor_errors(context):
            self._check_request_id()
        if not self.deferrable:
            if not self.reschedule:  # where each look is a process of its own, that would be a line for each
                self.log.info("Waiting for request %s here, for %.0f s at most", self.request_id, self.timeout)
            return super().execute(context)
        now = time.time()
        delivery = TriggererDelivery.plan(self, context, self.output_path)
        self.defer(
            trigger=KandinskyJobTrigger(
                request_id=self.request_id,
                kandinsky_conn_id=self.kandinsky_conn_id,
                submitted_at=now,
                deadline=now + self.timeout,
                delivery=delivery.to_dict() if delivery else None,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + DEFERRAL_TIMEOUT_MARGIN,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        poller = self._poller = self._poller or self._new_poller(context)
        JobMetrics.of_task(context["ti"]).polled()
        with (
            translate_sensor_errors(context),
            KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook,
        ):
            try:
                poller.on_status(hook.get_status(self.request_id), time.time())
                if not poller.completed:
                    return PokeReturnValue(is_done=False)
                result = hook.get_result(self.request_id)
            except KandinskyError as error:
                if self.reschedule and isinstance(error, JobExpiredError):
                    found = self._wait_out_404(hook, error)
                    return PokeReturnValue(found is not None, found and self._deliver(found, context, hook))
                poller.on_error(error, time.time())
                if type(error) is not self._last_trouble:
                    self.log.info("Looking again later: %s", error)
                self._last_trouble = type(error)
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._deliver(result, context, hook))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Take up what the trigger found.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
        """
        with (
            apply_soft_fail(self),
            translate_sensor_errors(context),
            KandinskyHook(self.kandinsky_conn_id) as hook,
        ):
            return self._deliver(result_in_event(event, hook), context, hook)

    def _check_request_id(self) -> None:
        # As text, None is what a template makes of an XCom that is not there.
        if parse_request_id(self.request_id) in (None, "None"):
            raise invalid_argument(
                "request_id", self.request_id, "the id of a job, as the task that submitted it returned it"
            )

    def _deliver(self, result: GenerationResult, context: Context, hook: KandinskyHook) -> list[str]:
        self.lineage = Lineage.of_request(self.request_id)
        uris = deliver(result, context, hook, self.output_path)
        self.lineage = Lineage.of(result, uris)
        return uris

    def _wait_out_404(self, hook: KandinskyHook, error: JobExpiredError) -> GenerationResult | None:
        """Poll on in this process, as the next one will not know of this 404.

        :return: ``None`` if the job is known, and not finished.
        :raises JobExpiredError: nothing else came for the grace period of the :class:`~.waiting.poller.PollPolicy`.
        """
        self.log.info("Looking again here: %s", error)
        try:
            return hook.wait(self.request_id, 2 * self.poll_policy.not_found_grace_period)
        except JobTimeoutError:
            return None

    def _new_poller(self, context: Context) -> JobPoller:
        """When this sensor first polled is the only age that it knows of a job that others have submitted."""
        ti = context["ti"]
        first_reschedule: datetime | None = ti.get_first_reschedule_date(context)
        since = (first_reschedule or ti.start_date).timestamp()
        return JobPoller(self.request_id, submitted_at=since, deadline=math.inf, policy=self.poll_policy)
