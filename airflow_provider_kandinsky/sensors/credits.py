"""Wait until there is something to pay with."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated, Any, Final

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from pydantic import Field, TypeAdapter, ValidationError

from airflow_provider_kandinsky.compat.airflow import AirflowSensorTimeout
from airflow_provider_kandinsky.compat.supervisor_wakeup import WakesSupervisor
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.validation import Number
from airflow_provider_kandinsky.tasks.arguments import DEFERRAL_TIMEOUT_MARGIN, invalid_argument, is_literal
from airflow_provider_kandinsky.tasks.error_translation import (
    apply_soft_fail,
    translate_operator_errors,
    translate_sensor_errors,
)
from airflow_provider_kandinsky.triggers.credits import KandinskyCreditsTrigger

_MINIMUM: Final = TypeAdapter(Annotated[Number, Field(ge=0)])


class KandinskyCreditsSensor(WakesSupervisor, BaseSensorOperator):
    """Wait until the account has enough credits, and return (XCom ``return_value``) how many are left.

    Put it before the tasks that buy: an account that runs dry in the middle of a run fails them one by one. Asking is
    free of charge. Outages and rate limits are waited out.

    :param minimum_credits: how many credits are enough, in the vendor's credits, 0 or more; bought and free ones count;
        templated. What one picture costs is told by XCom ``generation`` of an earlier one.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``; templated.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poke_interval: seconds between polls, in all modes.
    :raises AirflowFailException: ``minimum_credits`` is refused, or the account cannot be asked: no key, a bad key.
    :raises AirflowSensorTimeout: there were not enough within the sensor's ``timeout``.
    """

    template_fields = ("minimum_credits", "kandinsky_conn_id")
    ui_color = "#f3e9fb"

    def __init__(
        self,
        *,
        minimum_credits: float | str,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.minimum_credits = minimum_credits
        self.kandinsky_conn_id = kandinsky_conn_id
        self.deferrable = deferrable
        if is_literal(minimum_credits):
            with translate_operator_errors():
                self._minimum()

    def execute(self, context: Context) -> Any:
        """Poke, or look once and defer, as the arguments say."""
        if not self.deferrable:
            return super().execute(context)
        with apply_soft_fail(self):
            looked = self.poke(context)
        if looked.is_done:
            return looked.xcom_value
        self.defer(
            trigger=KandinskyCreditsTrigger(
                minimum_credits=self._minimum(),
                kandinsky_conn_id=self.kandinsky_conn_id,
                poke_interval=self.poke_interval,
                deadline=time.time() + self.timeout,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + DEFERRAL_TIMEOUT_MARGIN,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with translate_sensor_errors(context), KandinskyHook(self.kandinsky_conn_id) as hook:
            minimum = self._minimum()
            try:
                credits_left = hook.get_credits().total
            except KandinskyError as error:
                if not error.retryable:
                    raise
                self.log.warning("Asking for the credits again later: %s", error)
                return PokeReturnValue(is_done=False)
        self.log.info("%g credits are left; at least %g are wanted", credits_left, minimum)
        return PokeReturnValue(is_done=credits_left >= minimum, xcom_value=credits_left)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> float:
        """Take up what the trigger found.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.credits.KandinskyCreditsTrigger`.
        """
        with translate_sensor_errors(context):
            if "error" in event:
                raise error_from_dict(event["error"])
            minimum = self._minimum()
        credits_left: float | None = event["credits"]
        if credits_left is None or credits_left < minimum:
            left = "the service did not say how many are left" if credits_left is None else f"{credits_left:g} are left"
            raise AirflowSensorTimeout(
                f"There were not the {minimum:g} credits that are wanted within {self.timeout:g} s: {left}. Nothing "
                "was bought"
            )
        self.log.info("%g credits are left; at least %g were wanted", credits_left, minimum)
        return credits_left

    def _minimum(self) -> float:
        try:
            return _MINIMUM.validate_python(self.minimum_credits)
        except ValidationError:
            raise invalid_argument("minimum_credits", self.minimum_credits, "a finite number, 0 or more") from None
