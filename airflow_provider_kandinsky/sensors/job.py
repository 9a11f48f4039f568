"""Wait for a job that another task has submitted."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import Any, cast

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue, XComArg

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.errors import JobExpiredError, JobTimeoutError, KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, parse_request_id
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, JobPoller
from airflow_provider_kandinsky.tasks.arguments import check_output_path, invalid_argument, is_literal
from airflow_provider_kandinsky.tasks.deferral import defer_until_done
from airflow_provider_kandinsky.tasks.error_translation import (
    apply_soft_fail,
    translate_operator_errors,
    translate_sensor_errors,
)
from airflow_provider_kandinsky.tasks.image_task import ImageTask
from airflow_provider_kandinsky.triggers.event import result_in_event


class KandinskyJobSensor(ImageTask, BaseSensorOperator):
    """Wait until a job is finished and return its images' URLs, in the service's order.

    Meant for a job submitted by
    :class:`~airflow_provider_kandinsky.operators.text_to_image.KandinskyTextToImageOperator` with
    ``wait_for_completion=False``. It never submits anything, so it costs nothing and retries are safe. XCom
    ``generation`` is pushed with the result.

    A failed job fails the task without waiting, or skips it with ``soft_fail``. So does an id for which the service
    returns only 404 for a minute (it keeps records for one hour after submission); in mode ``reschedule`` a poke that
    gets a 404 lasts that long. Outages, rate limits and rejections of the key are waited out.

    :param request_id: the job; templated.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``; templated.
    :param deferrable: wait in the triggerer, holding no worker slot, with the operator's adaptive polling instead
        of ``poke_interval``. Default: ``[operators] default_deferrable``.
    :param output_path: store the images there, and return their URIs; as for the operator.
    :param poke_interval: seconds between polls, in the modes poke and reschedule.
    :raises AirflowFailException: the job failed or is not known, or ``request_id`` is not allowed.
    :raises AirflowSensorTimeout: the job was not finished within the sensor's ``timeout``.
    """

    template_fields = ("request_id", "kandinsky_conn_id", "output_path")
    ui_color = "#f3e9fb"
    #: How the job is polled in a worker.
    poll_policy = DEFAULT_POLL_POLICY

    def __init__(
        self,
        *,
        request_id: str | XComArg,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        output_path: str | None = None,
        poke_interval: timedelta | float = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.request_id = cast("str", request_id)  # once it is rendered
        self.kandinsky_conn_id = kandinsky_conn_id
        self.deferrable = deferrable
        self.output_path = output_path
        self._poller: JobPoller | None = None
        self._logged_error: type[KandinskyError] | None = None
        with translate_operator_errors():
            if is_literal(request_id):
                self._check_request_id()
            check_output_path(output_path)

    def execute(self, context: Context) -> Any:
        """Poke, or defer, as the arguments say."""
        with apply_soft_fail(self), translate_sensor_errors(context):
            self._check_request_id()
        if not self.deferrable:
            if not self.reschedule:  # in that mode each poll is a process of its own, and would log it again
                self.log.info("Waiting for request %s here, for %.0f s at most", self.request_id, self.timeout)
            return super().execute(context)
        now = time.time()
        defer_until_done(
            self,
            context,
            self.output_path,
            now + self.timeout,
            request_id=self.request_id,
            kandinsky_conn_id=self.kandinsky_conn_id,
            submitted_at=now,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once."""
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
                    return PokeReturnValue(found is not None, found and self._deliver_result(found, context, hook))
                poller.on_error(error, time.time())
                if type(error) is not self._logged_error:
                    self.log.info("Polling again later: %s", error)
                self._logged_error = type(error)
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._deliver_result(result, context, hook))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Resume with the trigger's event.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
        """
        with (
            apply_soft_fail(self),
            translate_sensor_errors(context),
            KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook,
        ):
            return self._deliver_result(result_in_event(event, hook), context, hook)

    def _check_request_id(self) -> None:
        # A template renders a missing XCom as the text None.
        if parse_request_id(self.request_id) in (None, "None"):
            raise invalid_argument(
                "request_id", self.request_id, "the id of a job, as returned by the task that submitted it"
            )

    def _wait_out_404(self, hook: KandinskyHook, error: JobExpiredError) -> GenerationResult | None:
        """Keep polling in this process, because the next one will not know of this 404.

        :return: ``None`` if the job is known but not finished.
        :raises JobExpiredError: only 404 for the grace period of the :class:`~.waiting.poller.PollPolicy`.
        """
        self.log.info("Polling on in this process: %s", error)
        try:
            return hook.wait(self.request_id, 2 * self.poll_policy.not_found_grace_period)
        except JobTimeoutError:
            return None

    def _new_poller(self, context: Context) -> JobPoller:
        """A poller that counts the job's age from this sensor's first poll, since it does not know the submission."""
        ti = context["ti"]
        first_reschedule: datetime | None = ti.get_first_reschedule_date(context)
        since = (first_reschedule or ti.start_date).timestamp()
        return JobPoller(self.request_id, submitted_at=since, deadline=math.inf, policy=self.poll_policy)
