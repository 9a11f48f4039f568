"""Generate images from a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from airflow.configuration import conf
from airflow.sdk import Context

from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.operators._base import DEFAULT_CONN_ID, GenerationOperator, OnBudget
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.tasks.arguments import (
    GENERATION_ARGUMENTS,
    check_destination,
    invalid_argument,
    is_literal,
    literal_arguments,
)

if TYPE_CHECKING:
    from airflow.sdk import XComArg

    from airflow_provider_kandinsky.operators._single import SingleTask
    from airflow_provider_kandinsky.types import ImageSide, Scheduler


class KandinskyTextToImageOperator(GenerationOperator):
    """Generate images from a prompt.

    Returns (XCom ``return_value``) the list of the images' URLs, in the service's order; with
    ``wait_for_completion=False`` the request id, for a
    :class:`~airflow_provider_kandinsky.sensors.job.KandinskyJobSensor`. XCom ``request_id`` is pushed before any
    waiting, ``generation`` (seed, cost in dollars, times in seconds, model) with the result, and ``error`` (type and
    message) if the try fails. What is sent to the service, seed included, is among the task's rendered fields.

    Literal arguments are checked when the DAG is parsed, templated ones when the task runs; both before anything
    is submitted. All of the generation arguments, the model, the connection id and the output path are templated.

    :param prompt: what to generate; required, not blank.
    :param negative_prompt: what to keep out of the image.
    :param scheduler: ``"DDIM"`` or ``"P-Sampler"``.
    :param samples: how many images, 1 to 8; the service gives 1 if unset.
    :param num_inference_steps: 10 to 40.
    :param guidance_scale: how closely to follow the prompt.
    :param seed: 0 or more repeats an image, ``-1`` asks the service for a random one. If unset, the task instance
        gets one of its own, the same in every try.
    :param img_width: 512 or 1024 pixels.
    :param img_height: 512 or 1024 pixels.
    :param base64: have the service send the images in its response; needs an ``output_path``, because images are
        not put into XCom.
    :param model_parameters: parameters that only this model has, by name, sent as they are beside those above: JSON
        values, of 20,000 characters at most. None of them may be one of the arguments above.
    :param model: the model's slug. The ranges above are those of the default one; those of
        ``kandinsky2.2-txt2img`` are known, too, and of any other model only types are checked.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``.
    :param wait_for_completion: whether the task lasts until the images are there.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between polls; adaptive if ``None``: about 1 s at first, growing with the job's age
        to at most 15 s.
    :param timeout: seconds from submission until the task gives up waiting; at most 3600, for the service forgets
        a job after an hour.
    :param output_path: store the images there, and return their URIs; the service's URLs are then in XCom
        ``source_urls``. See :class:`~airflow_provider_kandinsky.results.output_path.OutputPath` for its placeholders.
    :param reuse: deliver images again that are stored in ``output_path`` for the same base URL, model and parameters,
        by whatever run, DAG or deployment, and submit nothing. If unset, the seed is then made from those.
    :param max_cost: dollars; a retry or a clear submits nothing more once the jobs that this task instance has
        submitted before have cost that, as far as the request history says.
    :param durable: keep what was submitted, so that no retry, crash or clear submits it again: in Airflow's task state
        store (3.3 and later), or in the connection's ``ledger_path``.
    :param on_unknown_submit: what a retry does if an earlier try may have submitted and the request history does
        not say: ``"fail"``, or ``"resubmit"``, which may pay twice.
    :param on_budget: what a task does when the connection's ``daily_budget`` is used up: ``"fail"``, or ``"wait"``: a
        deferrable task defers until the next day (UTC).
    :raises AirflowFailException: what no retry can cure: bad parameters, a bad key, no credits, blocked content.
    :raises KandinskyError: what a retry may cure: outages, rate limits, a failed job, the timeout.
    """

    template_fields = (*GENERATION_ARGUMENTS, "model", "kandinsky_conn_id", "output_path")
    #: Whether Airflow writes the rendered fields when this process ends, at the cost of one call: where they cannot be
    #: rendered, so that something is shown at all, and where they are something else by now than what was sent.
    overwrite_rtif_after_execution = True
    #: Whether the prompt is known when the templates are rendered.
    prompt_is_rendered = True

    def __init__(
        self,
        *,
        prompt: str | XComArg,
        negative_prompt: str | None = None,
        scheduler: Scheduler | str | None = None,
        samples: int | str | None = None,
        num_inference_steps: int | str | None = None,
        guidance_scale: float | str | None = None,
        seed: int | str | None = None,
        img_width: ImageSide | int | str | None = None,
        img_height: ImageSide | int | str | None = None,
        base64: bool | str | None = None,
        model_parameters: Mapping[str, Any] | None = None,
        model: str = DEFAULT_MODEL,
        kandinsky_conn_id: str = DEFAULT_CONN_ID,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = WAIT_TIMEOUT,
        durable: bool = True,
        on_unknown_submit: OnUnknownSubmit = "fail",
        on_budget: OnBudget = "fail",
        output_path: str | None = None,
        reuse: bool = False,
        max_cost: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = cast("str", prompt)  # once it is rendered
        self.negative_prompt = negative_prompt
        self.scheduler = scheduler
        self.samples = samples
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = guidance_scale
        self.seed = seed
        self.img_width = img_width
        self.img_height = img_height
        self.base64 = base64
        self.model_parameters = model_parameters
        self.model = model
        self.kandinsky_conn_id = kandinsky_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.durable = durable
        self.on_unknown_submit = on_unknown_submit
        self.on_budget = on_budget
        self.output_path = output_path
        self.reuse = reuse
        self.max_cost = max_cost
        self._request_id: str | None = None
        #: Whether the arguments are those that an earlier process of this try has sent.
        self.has_sent_arguments = False
        self._check_arguments()

    def execute(self, context: Context) -> list[str] | str:
        """Submit, unless an earlier try has; then wait here, defer, or return, as the arguments say."""
        return self._engine(context).submit()

    def execute_after_reset(self, context: Context, event: Any, resets: int = 0) -> list[str] | str:
        """Make a submission that had to wait for the rate limit to reset.

        :param resets: how often it has waited.
        """
        return self._engine(context).submit(resets)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Deliver what the trigger found.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
        """
        return self._engine(context).complete(event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if that is because the deferral itself ended, wait for the job here, to the deadline it had."""
        next_kwargs = dict(next_kwargs or {})
        # "dags test" drops what a deferral carries.
        if arguments := next_kwargs.pop("arguments", None):
            self._take_arguments(arguments)
        self.has_sent_arguments = arguments is not None
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Say what became of the money; the service has no call to cancel a job."""
        if self._request_id is not None:
            self.log.warning("Request %s was not cancelled and may still be billed", self._request_id)

    def _engine(self, context: Context) -> SingleTask:
        from airflow_provider_kandinsky.operators._single import SingleTask

        return SingleTask(self, context)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Choose the seed here, so that it is among the rendered fields that Airflow writes next: of a mapped task,
        this is the only method of the operator that Airflow calls in time."""
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            self.overwrite_rtif_after_execution = False
            # Not so when a template is rendered for a preview. What is refused here is refused by build_request.
            if "ti" in context and (self.prompt_is_rendered or not self.reuse):
                with suppress(BadRequestError):
                    self._choose_seed(context)

    def _choose_seed(self, context: Context) -> None:
        if self.seed is not None:
            return
        if self.reuse:
            self.seed = self._request().seeded_by_content(self.model).seed
        else:
            from airflow_provider_kandinsky.durable.seeds import derive_seed

            self.seed = derive_seed(context)

    def _request(self) -> TextToImageRequest:
        return TextToImageRequest.of({name: getattr(self, name) for name in GENERATION_ARGUMENTS}, model=self.model)

    def build_request(self, context: Context) -> TextToImageRequest:
        """The request, from the rendered arguments and a seed of the task instance's own, if it was given none.

        :raises BadRequestError: an argument is refused. Nothing was submitted.
        """
        self._choose_seed(context)
        request = self._request()
        check_destination(self.output_path, request.samples or 1, base64=bool(request.base64), reuse=self.reuse)
        return request

    def _requests_and_defaults(self) -> tuple[Any, dict[str, Any]]:
        return [{name: getattr(self, name) for name in GENERATION_ARGUMENTS}], {}

    def _take_arguments(self, payload: Mapping[str, Any]) -> None:
        arguments = TextToImageRequest.arguments_in(payload)
        for name in GENERATION_ARGUMENTS:
            if str(arguments.get(name)) != str(getattr(self, name)):
                self.overwrite_rtif_after_execution = True
            setattr(self, name, arguments.get(name))

    def _check_literals(self) -> None:
        literals = literal_arguments(self, GENERATION_ARGUMENTS)
        if not is_literal(self.prompt):
            literals["prompt"] = "(rendered when the task runs)"
        request = TextToImageRequest.of(literals, model=self.model)
        if self.reuse and not self.wait_for_completion:
            raise invalid_argument("wait_for_completion", False, "True with reuse=True")
        self._check_shared(request.samples or 1)
