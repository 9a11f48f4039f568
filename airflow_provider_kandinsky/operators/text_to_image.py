"""Buy one generation and bring its pictures' URLs into XCom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NoReturn

from airflow.configuration import conf
from airflow.sdk import Context

from airflow_provider_kandinsky.compat.airflow import AirflowTaskTimeout, TaskDeferralError, TaskDeferralTimeout
from airflow_provider_kandinsky.durable.ledger import JobLedger, argument_hashes, derive_seed
from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.durable.submission import Submission, SubmittedJob
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.observability.lineage import Lineage
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.constants import WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import BadRequestError, JobExpiredError, RateLimitedError
from airflow_provider_kandinsky.segmind.schemas import (
    DEFAULT_MODEL,
    RECORD_LIFETIME,
    GenerationResult,
    TextToImageRequest,
)
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY
from airflow_provider_kandinsky.tasks.arguments import (
    BASE64_NEEDS_OUTPUT_PATH,
    GENERATION_ARGUMENTS,
    check_output_path,
    check_settings,
    is_literal,
)
from airflow_provider_kandinsky.tasks.deferral import defer_until_done, reset_trigger
from airflow_provider_kandinsky.tasks.error_translation import translate_operator_errors
from airflow_provider_kandinsky.tasks.image_task import ImageTask
from airflow_provider_kandinsky.triggers.job import result_in_event


class KandinskyTextToImageOperator(ImageTask):
    """Generate pictures from a prompt.

    Returns (XCom ``return_value``) the list of the pictures' URLs, in the service's order; with
    ``wait_for_completion=False`` the request id, for a
    :class:`~airflow_provider_kandinsky.sensors.job.KandinskyJobSensor`. XCom ``request_id`` is pushed before any
    waiting, ``generation`` (seed, cost in dollars, times in seconds, model) with the result, and ``error`` (type and
    message) if the try fails. What is sent to the service, seed included, is among the task's rendered fields.

    Literal arguments are checked when the DAG is parsed, templated ones when the task runs; both before anything
    is submitted. All of the generation arguments, the model, the connection id and the output path are templated.

    :param prompt: what to paint; required, not blank.
    :param negative_prompt: what to keep out of the picture.
    :param scheduler: ``"DDIM"`` or ``"P-Sampler"``.
    :param samples: how many pictures, 1 to 8; the service paints 1 if unset.
    :param num_inference_steps: 10 to 40.
    :param guidance_scale: how closely to follow the prompt.
    :param seed: 0 or more repeats a picture, ``-1`` asks the service for a random one. If unset, the task instance
        gets one of its own, the same in every try.
    :param img_width: 512 or 1024 pixels.
    :param img_height: 512 or 1024 pixels.
    :param base64: have the service send the pictures in its answer; needs an ``output_path``, because pictures are
        not put into XCom.
    :param model: the model's slug.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``.
    :param wait_for_completion: whether the task lasts until the pictures are there.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between polls; adaptive if ``None``: about 1 s at first, growing with the job's age
        to at most 15 s.
    :param timeout: seconds from submission until the task gives up waiting; at most 3600, for the service forgets
        a job after an hour.
    :param output_path: store the pictures there, and return their URIs; the service's URLs are then in XCom
        ``source_urls``. See :class:`~airflow_provider_kandinsky.results.storage.OutputPath` for its placeholders.
    :param durable: keep in Airflow's task state store (3.3 and later) what was bought, so that no retry, crash or
        clear buys it again.
    :param on_unknown_submit: what a retry does if an earlier try may have submitted and the request history cannot
        tell: ``"fail"``, or ``"resubmit"``, which may pay twice.
    :raises AirflowFailException: what no retry can cure: bad parameters, a bad key, no credits, blocked content.
    :raises KandinskyError: what a retry may cure: outages, rate limits, a failed job, the timeout.
    """

    template_fields = (*GENERATION_ARGUMENTS, "model", "kandinsky_conn_id", "output_path")
    #: Whether Airflow writes the rendered fields when this process ends, at the cost of one call: where they cannot be
    #: rendered, so that something is shown at all, and where they are something else by now than what was sent.
    overwrite_rtif_after_execution = True
    ui_color = "#f3e9fb"
    #: How jobs are polled in the worker.
    poll_policy = DEFAULT_POLL_POLICY

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
        durable: bool = True,
        on_unknown_submit: OnUnknownSubmit = "fail",
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
        self.durable = durable
        self.on_unknown_submit = on_unknown_submit
        self.output_path = output_path
        self._request_id: str | None = None
        with translate_operator_errors():
            self._check_literals()

    def execute(self, context: Context) -> list[str] | str:
        """Submit, unless an earlier try has; then wait here, defer, or return, as the arguments say."""
        return self._generate(context)

    def execute_after_reset(self, context: Context, event: Any, resets: int = 0) -> list[str] | str:
        """Make a submission that had to wait for the rate limit to reset.

        :param resets: how often it has waited.
        """
        return self._generate(context, resets)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Deliver what the trigger found.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.job.KandinskyJobTrigger`.
        """
        self._note_request(event["request_id"])
        with self._failures(context), KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook:
            try:
                result = result_in_event(event, hook, self.model)
            except JobExpiredError as error:
                purchase = self._purchase_before_deferral(event["request_id"], context)
                request = self._request(context)
                # Without an error in the event the job is finished, and what met a 404 was the fetching of its images.
                has_waited = "error" in event
                purchase = self._submission(hook, request, context).after_wait(purchase, error, has_waited=has_waited)
                return self._finish(purchase, request, context, hook)
            return self._deliver(result, context, hook)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if that is because the deferral itself ended, wait for the job here, to the deadline it had."""
        next_kwargs = dict(next_kwargs or {})
        # Where they are not in the deferral, an earlier version may have pushed them.
        if arguments := next_kwargs.pop("arguments", None) or self._xcom(context, "arguments"):
            self._take_arguments(arguments)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            request_id = self._xcom(context, "request_id")
            if request_id is None:
                raise
            self.log.warning("Waiting for request %s in the triggerer ended: %s", request_id, error)
            # The timeout comes after the deadline; a trigger that could not start has not used its time.
            is_over = isinstance(error, TaskDeferralTimeout)
        self._note_request(request_id)
        with self._failures(context), KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook:
            purchase = self._purchase_before_deferral(request_id, context, with_arguments=arguments is not None)
            deadline = time.time() if is_over else self._deadline(purchase, context)
            result = self._wait_here(hook, purchase, deadline)
            return self._deliver(result.with_seed(_sent_seed(self.seed)), context, hook)

    def on_kill(self) -> None:
        """Say what became of the money; the service has no call to cancel a job."""
        if self._request_id is not None:
            self.log.warning("Request %s was not cancelled and may still be billed", self._request_id)

    def _generate(self, context: Context, resets: int = 0) -> list[str] | str:
        with self._failures(context), KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook:
            request = self._request(context)
            purchase = self._submit_or_reattach(hook, request, context, resets)
            self._note_request(purchase.request_id)
            context["ti"].xcom_push(key="request_id", value=purchase.request_id)
            if not self.wait_for_completion:
                return purchase.request_id
            return self._finish(purchase, request, context, hook)

    def _finish(
        self, purchase: SubmittedJob, request: TextToImageRequest, context: Context, hook: KandinskyHook
    ) -> list[str]:
        """Wait for a job, here or by deferring, and deliver what it gives."""
        seed = _sent_seed(request.seed)
        while purchase.result is None:
            deadline = self._deadline(purchase, context)
            if self.deferrable:
                self._defer_until(deadline, purchase, request, context)
            try:
                purchase = replace(purchase, result=self._wait_here(hook, purchase, deadline))
            except JobExpiredError as error:
                purchase = self._submission(hook, request, context).after_wait(purchase, error)
        result = purchase.result.with_seed(seed)
        return self._deliver(result, context, hook, already_delivered=purchase.already_delivered)

    def _deadline(self, purchase: SubmittedJob, context: Context) -> float:
        # A try that re-attaches waits as long as the first one, but not for what the service has forgotten. It counts
        # from its beginning, as it may wait several times.
        since = max(context["ti"].start_date.timestamp(), purchase.submitted_at)
        return min(since + self.timeout, purchase.submitted_at + RECORD_LIFETIME)

    def _purchase_before_deferral(
        self, request_id: str, context: Context, *, with_arguments: bool = True
    ) -> SubmittedJob:
        """What was deferred for, as far as this process can know.

        :param with_arguments: whether the arguments are those that were sent. Else the record is asked, and what of
            prompt and seed was not sent is left out.
        """
        entry = JobLedger.of(context, durable=self.durable).read()
        if entry is not None and entry.request_id == request_id and entry.submitted_at is not None:
            if not with_arguments:
                now = argument_hashes(self.model, {"prompt": str(self.prompt), "seed": _sent_seed(self.seed)})
                for name in {"prompt", "seed"}.intersection(entry.changed(now)):
                    setattr(self, name, None)
            return SubmittedJob(request_id, entry.submitted_at)
        return SubmittedJob(request_id, context["ti"].start_date.timestamp())

    def _note_request(self, request_id: str) -> None:
        """Keep the id for what may be asked of this process later: what became of the money, and of lineage."""
        self._request_id = request_id
        self.lineage = Lineage.of_request(request_id, self.model, self.prompt)

    def _deliver(
        self, result: GenerationResult, context: Context, hook: KandinskyHook, *, already_delivered: bool = False
    ) -> list[str]:
        return self._deliver_result(result, context, hook, prompt=self.prompt, already_delivered=already_delivered)

    def _submission(self, hook: KandinskyHook, request: TextToImageRequest, context: Context) -> Submission:
        ti = context["ti"]
        return Submission(
            hook,
            JobLedger.of(context, durable=self.durable),
            request,
            self.model,
            metrics=JobMetrics.of_task(ti, self.model),
            max_tries=ti.max_tries,
            has_own_seed=request.seed == derive_seed(context),
            id_only=not self.wait_for_completion,
            on_unknown_submit=self.on_unknown_submit,
        )

    def _submit_or_reattach(
        self, hook: KandinskyHook, request: TextToImageRequest, context: Context, resets: int
    ) -> SubmittedJob:
        try:
            return self._submission(hook, request, context).submit_or_reattach()
        except RateLimitedError as error:
            if self.deferrable:
                self._defer_until_reset(error, request, resets)
            raise
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. A submission was under way, which may have been accepted and billed; a retry asks the "
                "request history what became of it"
            ) from error

    def _wait_here(self, hook: KandinskyHook, purchase: SubmittedJob, deadline: float) -> GenerationResult:
        seconds = max(0.0, deadline - time.time())
        self.log.info("Waiting for request %s here, for %.0f s at most", purchase.request_id, seconds)
        try:
            return hook.get_conn().poll_until_done(
                purchase.request_id,
                self.model,
                submitted_at=purchase.submitted_at,
                deadline=deadline,
                poll_interval=self.poll_interval,
            )
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. Request {purchase.request_id} may still be running, and will then be billed. "
                + ("A retry takes it up again" if self.durable else "A retry buys it again")
            ) from error

    def _defer_until(
        self, deadline: float, purchase: SubmittedJob, request: TextToImageRequest, context: Context
    ) -> NoReturn:
        defer_until_done(
            self,
            context,
            self.output_path,
            deadline,
            kwargs={"arguments": request.payload()},
            request_id=purchase.request_id,
            kandinsky_conn_id=self.kandinsky_conn_id,
            model=self.model,
            submitted_at=purchase.submitted_at,
            poll_interval=self.poll_interval,
            seed=_sent_seed(request.seed),
        )

    def _defer_until_reset(self, error: RateLimitedError, request: TextToImageRequest, resets: int) -> NoReturn:
        """Let go of the worker until the limit resets; nothing was accepted, so the ledger holds nothing."""
        if (trigger := reset_trigger(error, resets)) is None:
            raise error
        self.log.info("Rate limited; submitting at %s", trigger.moment)
        kwargs = {"arguments": request.payload(), "resets": resets + 1}
        self.defer(trigger=trigger, method_name="execute_after_reset", kwargs=kwargs)

    def _failures(self, context: Context) -> AbstractContextManager[None]:
        return translate_operator_errors(context, durable=JobLedger.of(context, durable=self.durable).is_kept)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Choose the seed here, so that it is among the rendered fields that Airflow writes next: of a mapped task,
        this is the only method of the operator that Airflow calls in time."""
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            self.overwrite_rtif_after_execution = False
            if "ti" in context:  # not so where somebody tries a template out
                self._choose_seed(context)

    def _choose_seed(self, context: Context) -> None:
        if self.seed is None:
            self.seed = derive_seed(context)

    def _request(self, context: Context) -> TextToImageRequest:
        """The request, from the rendered arguments and a seed of the task instance's own, if it was given none."""
        self._choose_seed(context)
        request = TextToImageRequest(**{name: getattr(self, name) for name in GENERATION_ARGUMENTS})
        if self.output_path:
            OutputPath(self.output_path, request.samples or 1)
        elif request.base64:
            raise BadRequestError(BASE64_NEEDS_OUTPUT_PATH)
        return request

    def _take_arguments(self, payload: Mapping[str, Any]) -> None:
        for name in GENERATION_ARGUMENTS:
            if str(payload.get(name)) != str(getattr(self, name)):
                self.overwrite_rtif_after_execution = True
            setattr(self, name, payload.get(name))

    def _xcom(self, context: Context, key: str) -> Any:
        """What this try has pushed before it was deferred."""
        ti = context["ti"]
        return ti.xcom_pull(task_ids=self.task_id, map_indexes=ti.map_index, key=key)

    def _check_literals(self) -> None:
        """Check what is known before templates are rendered; the rest waits for :meth:`_request`."""
        arguments = {name: getattr(self, name) for name in GENERATION_ARGUMENTS}
        literals = {name: value for name, value in arguments.items() if is_literal(value)}
        if not is_literal(self.prompt):
            literals["prompt"] = "(rendered when the task runs)"
        request = TextToImageRequest(**literals)
        check_output_path(self.output_path, request.samples or 1)
        check_settings(self.timeout, self.poll_interval, self.on_unknown_submit)


def _sent_seed(seed: Any) -> int | None:
    """The seed that was sent; ``None`` if the service drew one."""
    return seed if isinstance(seed, int) and seed != -1 else None
