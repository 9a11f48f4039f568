"""Buy thousands of generations in one task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Final, Literal

from airflow.configuration import conf
from airflow.sdk import Context

from airflow_provider_kandinsky.batch.delivery import BatchDelivery
from airflow_provider_kandinsky.batch.errors import RequestsChangedError
from airflow_provider_kandinsky.batch.items import Item, by_position, read_items
from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.pin import Pin
from airflow_provider_kandinsky.batch.run import BatchRun
from airflow_provider_kandinsky.compat.airflow import (
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.durable.ledger import derive_seed, task_state_store_for
from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.constants import WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import (
    BadRequestError,
    KandinskyError,
    RateLimitedError,
    ServiceUnavailableError,
    error_from_dict,
)
from airflow_provider_kandinsky.segmind.schemas import DEFAULT_MODEL, TextToImageRequest, fingerprint
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY
from airflow_provider_kandinsky.tasks.arguments import (
    BASE64_NEEDS_OUTPUT_PATH,
    GENERATION_ARGUMENTS,
    check_output_path,
    check_settings,
    invalid_argument,
    is_literal,
)
from airflow_provider_kandinsky.tasks.deferral import deferral_timeout, reset_trigger
from airflow_provider_kandinsky.tasks.error_translation import is_rescheduled, translate_operator_errors
from airflow_provider_kandinsky.tasks.image_task import ImageTask
from airflow_provider_kandinsky.triggers.batch import KandinskyBatchTrigger, PendingJob

#: The arguments that the items of a batch may have in common.
SHARED_ARGUMENTS: Final = tuple(name for name in GENERATION_ARGUMENTS if name != "prompt")
#: A wave's outcomes travel in one event, which Airflow keeps in its database and logs.
_LARGEST_WAVE: Final = 1000

OnItemFailure = Literal["fail", "keep"]
_ON_ITEM_FAILURE: Final = ("fail", "keep")


class KandinskyTextToImageBatchOperator(ImageTask):
    """Generate pictures from many prompts, in one task and with one trigger.

    Returns (XCom ``return_value``) a list in the order of ``requests``, with a dict for each: ``urls`` (with an
    ``output_path`` the URIs of the stored pictures, and the service's URLs as ``source_urls``), ``request_id``,
    ``seed``, ``cost`` in dollars, and ``error``: ``None``, or a dict of ``type`` and ``message``. XCom ``counts`` has
    the number of ``items``, of those that ``succeeded`` and ``failed``, and the ``cost`` of all; ``arguments``, pushed
    before the first submission, what is sent to the service for each.

    All items are checked before the first is submitted. Items that are equal and have a seed are bought once.

    :param requests: what to paint: prompts, or mappings of the generation arguments; templated.
    :param negative_prompt: for the items without one of their own, as all generation arguments here; for their ranges
        see :class:`~airflow_provider_kandinsky.operators.text_to_image.KandinskyTextToImageOperator`.
    :param scheduler: see there.
    :param samples: see there.
    :param num_inference_steps: see there.
    :param guidance_scale: see there.
    :param seed: see there. An item without a seed gets one of its own, the same in every try.
    :param img_width: see there.
    :param img_height: see there.
    :param base64: see there.
    :param model: the model's slug.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between polls at a job; adaptive if ``None``.
    :param timeout: seconds from an item's submission until the task gives up waiting for it; at most 3600.
    :param durable: keep in Airflow's task state store (3.3 and later) what was bought, so that no retry, crash or
        clear buys it again.
    :param on_unknown_submit: what a retry does with items that an earlier try may have submitted, if the request
        history cannot tell: ``"fail"``, or ``"resubmit"``, which may pay twice.
    :param output_path: store the pictures there, and a manifest of the batch; see
        :class:`~airflow_provider_kandinsky.results.storage.OutputPath` for its placeholders.
    :param max_in_flight: how many jobs are submitted before they are waited for, 1 to 1000.
    :param on_item_failure: ``"fail"``: the task fails if any item has, when all others are done. ``"keep"``: it
        succeeds, and the errors are in the result.
    :param max_xcom_items: with more items than this only the manifest's URI and the counts go into XCom.
    :param max_cost: dollars; no further wave is submitted once the costs have reached it.
    :raises AirflowFailException: what no retry can cure.
    :raises BatchItemsFailedError: items have failed that a retry may cure.
    :raises KandinskyError: the batch could not be gone on with: outages, rate limits.
    """

    template_fields = ("requests", *SHARED_ARGUMENTS, "model", "kandinsky_conn_id", "output_path")
    ui_color = "#f3e9fb"
    #: How jobs are polled in the worker.
    poll_policy = DEFAULT_POLL_POLICY

    def __init__(
        self,
        *,
        requests: Sequence[Mapping[str, Any] | str] | Any,
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
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = WAIT_TIMEOUT,
        durable: bool = True,
        on_unknown_submit: OnUnknownSubmit = "fail",
        output_path: str | None = None,
        max_in_flight: int = 200,
        on_item_failure: OnItemFailure = "fail",
        max_xcom_items: int = 500,
        max_cost: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
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
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.durable = durable
        self.on_unknown_submit = on_unknown_submit
        self.output_path = output_path
        self.max_in_flight = max_in_flight
        self.on_item_failure = on_item_failure
        self.max_xcom_items = max_xcom_items
        self.max_cost = max_cost
        self._in_flight_count = 0
        self._pinned: dict[str, Any] | None = None
        with translate_operator_errors():
            self._check_literals()

    def execute(self, context: Context) -> list[dict[str, Any]] | None:
        """Submit what no earlier try has, wave by wave; wait for each here, or defer."""
        return self._run(context, is_resumed=False)

    def execute_after_reset(self, context: Context, event: Any, **carried: Any) -> list[dict[str, Any]] | None:
        """Go on with submissions that had to wait for the rate limit to reset."""
        return self._run(context, **carried)

    def execute_complete(self, context: Context, event: dict[str, Any], **carried: Any) -> list[dict[str, Any]] | None:
        """Record what the trigger found, and submit the next wave.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.batch.KandinskyBatchTrigger`.
        :param carried: what the process that deferred has left to this one.
        """
        return self._run(context, outcomes=event["outcomes"], **carried | {"resets": 0})

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if that is because the deferral itself ended, wait here for what is in flight."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            if task_state_store_for(context, durable=self.durable) is None:
                raise  # what was in flight went with the deferral
            self.log.warning("Waiting for a wave in the triggerer ended: %s", error)
            # The timeout comes after all deadlines; a trigger that could not start has not used its time.
            is_over = isinstance(error, TaskDeferralTimeout)
        return self._run(context, is_last_look=is_over, waits_here=not is_over)

    def on_kill(self) -> None:
        """Say what became of the money; the service has no call to cancel a job."""
        if self._in_flight_count:
            self.log.warning(
                "%d requests of the batch were not cancelled and may still be billed", self._in_flight_count
            )

    def _run(
        self,
        context: Context,
        *,
        is_resumed: bool = True,
        outcomes: Mapping[str, Any] | None = None,
        is_last_look: bool = False,
        waits_here: bool = False,
        entries: Sequence[Mapping[str, Any]] | None = None,
        stopped: dict[str, Any] | None = None,
        pinned: Mapping[str, Any] | None = None,
        resets: int = 0,
        **_unknown_kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """
        :param is_resumed: whether an earlier process of this try has begun.
        :param outcomes: what became of the wave that was deferred for.
        :param is_last_look: whether what is in flight has no time left.
        :param waits_here: whether to wait here for what is in flight, as its trigger cannot.
        :param entries: what was bought by earlier processes of this try, where there is no store.
        :param stopped: why those have stopped submitting.
        :param pinned: which requests the try has begun with, where there is no store.
        :param resets: how often in a row the submission has waited for the rate limit to reset.
        """
        ledger = BatchLedger.read(context, durable=self.durable, carried=entries or (), is_resumed=is_resumed)
        if outcomes is not None and entries is None and not ledger.is_kept:
            raise AirflowFailException(
                "What the task had bought was lost on the way through its deferral (as in dag.test()), and with "
                f"durable=False no record is kept of it: {', '.join(outcomes)}. It is billed, and a clear buys it again"
            )
        with translate_operator_errors(context, durable=ledger.is_kept), self._service() as (hook, runner):
            before = (Pin.from_dict(pinned) if pinned else ledger.read_pin()) if is_resumed else None
            output_path, items, changed = self._items_of_try(context, hook, ledger, before)
            if not is_resumed:
                self._push_arguments(items, context)
            run = BatchRun(
                items,
                ledger,
                hook,
                runner,
                self.model,
                metrics=JobMetrics.of_task(context["ti"], self.model),
                began_at=context["ti"].start_date.timestamp(),
                timeout=self.timeout,
                output_path=output_path,
                max_cost=self.max_cost,
                stopped=changed or (error_from_dict(stopped) if stopped else None),
                on_unknown_submit=self.on_unknown_submit,
            )
            if outcomes is None:
                run.begin()
            else:
                run.take(outcomes)
            if is_last_look:
                run.look_once()
            elif waits_here:
                run.wait_for_in_flight(self.poll_interval)
            elif outcomes is None:
                run.purchases.count_reattached()
            while jobs := self._submit_wave(run, resets):
                self._wait(run, jobs)
            return self._deliver(run, context, output_path)

    def _items_of_try(
        self, context: Context, hook: KandinskyHook, ledger: BatchLedger, before: Pin | None
    ) -> tuple[OutputPath | None, list[Item], KandinskyError | None]:
        """What is wanted, and whether it is what the try has begun with.

        :param before: that, if there were processes of this try before this one.
        :return: where the images go, the items, and the error if they have changed. Then nothing more is submitted,
            but what was submitted is delivered.
        """
        try:
            output_path, items = self._items(context, hook)
            now = Pin.of(items, ledger.try_number)
            self._pinned = (before or now).to_dict()
            if before is None:
                ledger.read_all()
                ledger.write_pin(now)
            else:
                before.check(now)
        except RequestsChangedError as changed:
            ledger.read_all()
            return output_path, items, changed
        except BadRequestError as refused_now:
            if before is None:
                raise
            ledger.read_all()
            return None, [], refused_now
        return output_path, items, None

    def _submit_wave(self, run: BatchRun, resets: int) -> list[PendingJob]:
        try:
            return run.submit_wave(self.max_in_flight)
        except (RateLimitedError, ServiceUnavailableError) as error:
            if self.deferrable and isinstance(error, RateLimitedError):
                self._defer_until_reset(error, resets, run)
            if not run.purchases.are_kept and run.purchases.known_ids():
                # To run again would submit again what is done, so that is handed over.
                run.stop(error)
                return []
            error.retry_hint = "Nothing is in flight; a retry goes on with the items that are not done."
            raise
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. Submissions were under way, which may have been accepted and billed; "
                + (
                    "a retry takes up those that are known, and asks the request history for the others"
                    if run.purchases.are_kept
                    else "a retry buys them again"
                )
            ) from error

    def _defer_until_reset(self, error: RateLimitedError, resets: int, run: BatchRun) -> None:
        """Let go of the worker until the limit resets, unless there were enough of them."""
        if trigger := reset_trigger(error, resets):
            self.log.info("Rate limited; submitting at %s", trigger.moment)
            kwargs = self._carried(run) | {"resets": resets + 1}
            self.defer(trigger=trigger, method_name="execute_after_reset", kwargs=kwargs)

    def _wait(self, run: BatchRun, jobs: list[PendingJob]) -> None:
        self._in_flight_count = len(jobs)
        if self.deferrable:
            deadline = max(job.deadline for job in jobs)
            self.defer(
                trigger=KandinskyBatchTrigger(
                    jobs=[asdict(job) for job in jobs],
                    kandinsky_conn_id=self.kandinsky_conn_id,
                    model=self.model,
                    poll_interval=self.poll_interval,
                ),
                method_name="execute_complete",
                kwargs=self._carried(run),
                timeout=deferral_timeout(deadline),
            )
        try:
            run.wait(jobs, self.poll_interval)
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. {len(jobs)} requests of the batch may still be running, and will then be billed. "
                + ("A retry takes them up again" if run.purchases.are_kept else "A retry buys them again")
            ) from error
        self._in_flight_count = 0

    def _deliver(self, run: BatchRun, context: Context, output_path: OutputPath | None) -> list[dict[str, Any]] | None:
        run.purchases.reopen()
        if run.stopped and run.purchases.are_kept and is_rescheduled(run.stopped, context):
            raise run.stopped
        delivery = BatchDelivery(run.purchases, run.stopped, with_uris=output_path is not None)
        rows = delivery.push(context, output_path, self.max_xcom_items)
        self.lineage = delivery.lineage(self.model, with_rows=rows is not None)
        # What stops the submitting concerns the account, or the whole batch: that is no item's failure.
        failure = delivery.failure() or (run.stopped if run.stopped and not run.stopped.retryable else None)
        if failure is not None and (self.on_item_failure == "fail" or run.stopped is not None):
            if rows is not None and self.do_xcom_push:
                # Airflow pushes nothing of a task that fails, and most of this is paid for.
                context["ti"].xcom_push(key="return_value", value=rows)
            raise failure
        return rows

    def _push_arguments(self, items: Sequence[Item], context: Context) -> None:
        """Push what is sent to the service, in the order of the rows, where those go into XCom, too."""
        payloads = by_position(items, lambda item: item.request.payload())
        if len(payloads) <= self.max_xcom_items:
            context["ti"].xcom_push(key="arguments", value=payloads)

    def _carried(self, run: BatchRun) -> dict[str, Any]:
        """What the next process of this try has to be given."""
        entries = run.purchases.carry()
        carried = {
            "entries": entries,
            "stopped": run.stopped and run.stopped.to_dict(),
            "pinned": None if entries is None else self._pinned,
        }
        return {name: value for name, value in carried.items() if value is not None}

    @contextmanager
    def _service(self) -> Iterator[tuple[KandinskyHook, TimeoutAwareRunner]]:
        """The service, and the event loop to talk to it in."""
        with (
            KandinskyHook(self.kandinsky_conn_id, poll_policy=self.poll_policy) as hook,
            TimeoutAwareRunner() as runner,
        ):
            try:
                yield hook, runner
            finally:
                runner.run(hook.__aexit__())

    def _items(self, context: Context, hook: KandinskyHook) -> tuple[OutputPath | None, list[Item]]:
        """What is wanted and where its pictures go, from the rendered arguments."""
        items = read_items(
            self.requests,
            {name: getattr(self, name) for name in SHARED_ARGUMENTS},
            seed=partial(derive_seed, context),
            name=partial(fingerprint, hook.get_conn().base_url, self.model),
        )
        if self.output_path:
            samples = max((item.request.samples or 1 for item in items), default=1)
            return OutputPath(self.output_path, samples, len(items)), items
        if (rows := sum(len(item.positions) for item in items)) > self.max_xcom_items:
            raise BadRequestError(
                f"{rows} requests need an output_path: the results of more than max_xcom_items={self.max_xcom_items!r} "
                "are not put into XCom, but into a manifest. Nothing was submitted."
            )
        if any(item.request.base64 for item in items):
            raise BadRequestError(BASE64_NEEDS_OUTPUT_PATH)
        return None, items

    def _check_literals(self) -> None:
        """Check what is known before templates are rendered; the rest waits for :meth:`_items`."""
        arguments = {name: getattr(self, name) for name in SHARED_ARGUMENTS}
        literals = {name: value for name, value in arguments.items() if is_literal(value)}
        request = TextToImageRequest(prompt="(each item has its own)", **literals)
        check_output_path(self.output_path, request.samples or 1)
        check_settings(self.timeout, self.poll_interval, self.on_unknown_submit)
        if self.on_item_failure not in _ON_ITEM_FAILURE:
            raise invalid_argument("on_item_failure", self.on_item_failure, f"one of {', '.join(_ON_ITEM_FAILURE)}")
        if not isinstance(self.max_in_flight, int) or not 1 <= self.max_in_flight <= _LARGEST_WAVE:
            raise invalid_argument("max_in_flight", self.max_in_flight, f"an integer from 1 to {_LARGEST_WAVE}")
        if not isinstance(self.max_xcom_items, int) or self.max_xcom_items < 0:
            raise invalid_argument("max_xcom_items", self.max_xcom_items, "an integer, 0 or more")
        if self.max_cost is not None and not self.max_cost > 0:
            raise invalid_argument("max_cost", self.max_cost, "a number of dollars above 0")
