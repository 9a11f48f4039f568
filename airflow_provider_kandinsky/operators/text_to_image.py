"""Buy one generation and bring its pictures' URLs into XCom."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final, NoReturn

from airflow.configuration import conf
from airflow.sdk import BaseOperator, Context

from airflow_provider_kandinsky.delivery import deliver
from airflow_provider_kandinsky.failures import fail_at_once_if_final
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.polling import RECORD_LIFETIME, JobPoller
from airflow_provider_kandinsky.segmind.schemas import DEFAULT_MODEL, TextToImageRequest
from airflow_provider_kandinsky.segmind.shell import WAIT_TIMEOUT
from airflow_provider_kandinsky.triggers.job import KandinskyJobTrigger, result_in_event

#: The arguments that describe the picture, by the API's own names.
GENERATION_ARGUMENTS: Final = tuple(TextToImageRequest.model_fields)

#: How long after the trigger's own deadline Airflow's deferral timeout comes, should the triggerer be gone.
_BACKSTOP: Final = timedelta(minutes=5)


class KandinskyTextToImageOperator(BaseOperator):
    """Generate pictures from a prompt.

    Returns (XCom ``return_value``) the list of the pictures' URLs, in the service's order; with
    ``wait_for_completion=False`` the request id, for a
    :class:`~airflow_provider_kandinsky.sensors.job.KandinskyJobSensor`. XCom ``request_id`` is pushed before any
    waiting, ``generation`` (seed, cost in dollars, times in seconds, model) with the result.

    Literal arguments are checked when the DAG is parsed, templated ones when the task runs; both before anything
    is submitted. All of the generation arguments, the model, the connection id and the output path are templated.

    :param prompt: what to paint; required, not blank.
    :param negative_prompt: what to keep out of the picture.
    :param scheduler: ``"DDIM"`` or ``"P-Sampler"``.
    :param samples: how many pictures, 1 to 8; the service paints 1 if unset.
    :param num_inference_steps: 10 to 40.
    :param guidance_scale: how closely to follow the prompt.
    :param seed: 0 or more repeats a picture, ``-1`` asks the service for a random one.
    :param img_width: 512 or 1024 pixels.
    :param img_height: 512 or 1024 pixels.
    :param base64: have the service send the pictures in its answer; needs an ``output_path``, because pictures are
        not put into XCom.
    :param model: the model's slug.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``.
    :param wait_for_completion: whether the task lasts until the pictures are there.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between looks at the job; adaptive if ``None``: about 1 s at first, growing with
        the job's age to at most 15 s.
    :param timeout: seconds from submission until the task gives up waiting; at most 3600, for the service forgets
        a job after an hour.
    :raises AirflowFailException: what no retry can cure: bad parameters, a bad key, no credits, blocked content.
    :raises KandinskyError: what a retry may cure: outages, rate limits, a failed job, the timeout.
    """

    template_fields = (*GENERATION_ARGUMENTS, "model", "kandinsky_conn_id", "output_path")
    ui_color = "#f3e9fb"

    def __init__(
        self,
        *,
        prompt: str,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        samples: int | str | None = None,
        num_inference_steps: int | str | None = None,
        guidance_scale: float | str | None = None,
        seed: int | str | None = None,
        img_width: int | str | None = None,
        img_height: int | str | None = None,
        base64: bool | str | None = None,
        model: str = DEFAULT_MODEL,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = WAIT_TIMEOUT,
        output_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.scheduler = scheduler
        self.samples = samples
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = guidance_scale
        self.seed = seed
        self.img_width = img_width
        self.img_height = img_height
        self.base64 = base64
        self.model = model
        self.kandinsky_conn_id = kandinsky_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.output_path = output_path
        self._request_id: str | None = None
        with fail_at_once_if_final():
            self._check_literals()

    def execute(self, context: Context) -> list[str] | str:
        """Submit, then wait here, defer, or return, as the arguments say."""
        with fail_at_once_if_final(), KandinskyHook(self.kandinsky_conn_id) as hook:
            request = self._request()
            job = hook.submit(request, self.model)
            self._request_id = job.request_id
            submitted_at = time.time()
            context["ti"].xcom_push(key="request_id", value=job.request_id)
            self.log.info("Submitted request %s to %s", job.request_id, self.model)
            if not self.wait_for_completion:
                return job.request_id
            deadline = submitted_at + self.timeout
            if self.deferrable:
                self._defer_until(job.request_id, deadline, submitted_at)
            poller = JobPoller(
                job.request_id, submitted_at=submitted_at, deadline=deadline, poll_interval=self.poll_interval
            )
            return deliver(hook.get_conn().follow(poller, self.model), context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Take up what the trigger found.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
        """
        self._request_id = event["request_id"]
        with fail_at_once_if_final(), KandinskyHook(self.kandinsky_conn_id) as hook:
            return deliver(result_in_event(event, hook, self.model), context)

    def on_kill(self) -> None:
        """Say what became of the money; the service has no call to cancel a job."""
        if self._request_id is not None:
            self.log.warning("Request %s was not cancelled and may still be billed", self._request_id)

    def _defer_until(self, request_id: str, deadline: float, submitted_at: float) -> NoReturn:
        self.defer(
            trigger=KandinskyJobTrigger(
                request_id=request_id,
                kandinsky_conn_id=self.kandinsky_conn_id,
                model=self.model,
                submitted_at=submitted_at,
                deadline=deadline,
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=deadline - time.time()) + _BACKSTOP,
        )

    def _request(self) -> TextToImageRequest:
        """The request, from the rendered arguments."""
        request = TextToImageRequest(**{name: getattr(self, name) for name in GENERATION_ARGUMENTS})
        if request.base64 and not self.output_path:
            raise BadRequestError(
                "base64=True needs an output_path: pictures are not put into XCom. Nothing was submitted."
            )
        return request

    def _check_literals(self) -> None:
        """Check what is known before templates are rendered; the rest waits for :meth:`_request`."""
        arguments = {name: getattr(self, name) for name in GENERATION_ARGUMENTS}
        literals = {name: value for name, value in arguments.items() if is_literal(value)}
        if not is_literal(self.prompt):
            literals["prompt"] = "(rendered when the task runs)"
        TextToImageRequest(**literals)
        if not 0 < self.timeout <= RECORD_LIFETIME:
            raise BadRequestError(
                f"timeout={self.timeout!r} is not allowed: it must be a number of seconds above 0, "
                f"at most {RECORD_LIFETIME:.0f}"
            )
        if self.poll_interval is not None and self.poll_interval <= 0:
            raise BadRequestError(
                f"poll_interval={self.poll_interval!r} is not allowed: it must be a number of seconds above 0"
            )


def is_literal(value: object) -> bool:
    """Whether a value is final when the DAG is parsed: no template, no XCom of another task, no collection."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    return value is None or isinstance(value, (int, float, bool))
