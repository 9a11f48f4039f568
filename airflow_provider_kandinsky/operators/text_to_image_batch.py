"""Generate images from thousands of prompts in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.configuration import conf
from airflow.sdk import Context

from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.operators._base import DEFAULT_CONN_ID, GenerationOperator, OnBudget
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.tasks.arguments import (
    GENERATION_ARGUMENTS,
    check_choice,
    invalid_argument,
    literal_arguments,
)

if TYPE_CHECKING:
    from airflow.sdk import XComArg

    from airflow_provider_kandinsky.operators._batch import BatchTask
    from airflow_provider_kandinsky.types import BatchRequest, ImageSide, Scheduler

#: The arguments that the items of a batch may have in common.
SHARED_ARGUMENTS: Final = tuple(name for name in GENERATION_ARGUMENTS if name != "prompt")
#: The outcomes of all that is in flight may travel in one event, which Airflow keeps in its database and logs.
_MOST_IN_FLIGHT: Final = 1000

OnItemFailure = Literal["fail", "keep"]


class KandinskyTextToImageBatchOperator(GenerationOperator):
    """Generate images from many prompts, in one task and with one trigger.

    Returns (XCom ``return_value``) a list in the order of ``requests``, with a dict for each: ``urls`` (with an
    ``output_path`` the URIs of the stored images, and the service's URLs as ``source_urls``), ``request_id``,
    ``seed``, ``cost`` in dollars, and ``error``: ``None``, or a dict of ``type`` and ``message``. XCom ``counts`` has
    the number of ``items``, of those that ``succeeded`` and ``failed``, and the ``cost`` of all; ``arguments``, pushed
    before the first submission, what is sent to the service for each.

    All items are checked before the first is submitted. Items that are equal and have a seed are submitted once.

    :param requests: what to generate: prompts, or mappings of the generation arguments; templated.
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
    :param model_parameters: see there. An item may have some of its own, which go before these one by one.
    :param model: the model's slug.
    :param kandinsky_conn_id: the connection, of type ``kandinsky``.
    :param deferrable: wait in the triggerer, holding no worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between polls of a job; adaptive if ``None``.
    :param timeout: seconds from an item's submission until the task gives up waiting for it; at most 3600.
    :param durable: keep what was submitted, so that no retry, crash or clear submits it again: in Airflow's task state
        store (3.3 and later), or in the connection's ``ledger_path``.
    :param on_unknown_submit: what a retry does with items that an earlier try may have submitted, if the request
        history does not say: ``"fail"``, or ``"resubmit"``, which may pay twice.
    :param on_budget: what the task does when the connection's ``daily_budget`` is used up: ``"fail"``, or ``"wait"``: a
        deferrable task delivers nothing yet, and defers until the next day (UTC).
    :param output_path: store the images there, and a manifest of the batch; see
        :class:`~airflow_provider_kandinsky.results.output_path.OutputPath` for its placeholders.
    :param reuse: deliver images again that are stored in ``output_path`` for the same base URL, model and parameters,
        by whatever run, DAG or deployment, and submit nothing for them. The seed of an item without one is then made
        from those, so that equal items are one image.
    :param max_in_flight: how many jobs are in flight at a time, 1 to 1000.
    :param on_item_failure: ``"fail"``: the task fails if any item has, when all others are done. ``"keep"``: it
        succeeds, and the errors are in the result.
    :param max_xcom_items: with more items than this only the manifest's URI and the counts go into XCom.
    :param max_cost: dollars; nothing more is submitted once the costs have reached it.
    :raises AirflowFailException: what no retry can cure.
    :raises BatchItemsFailedError: items have failed that a retry may cure.
    :raises KandinskyError: the batch could not go on: outages, rate limits.
    """

    #: How many items are submitted at a time.
    group_size = 20
    template_fields = ("requests", *SHARED_ARGUMENTS, "model", "kandinsky_conn_id", "output_path")

    def __init__(
        self,
        *,
        requests: Sequence[BatchRequest | Mapping[str, Any] | str] | XComArg | str,
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
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = WAIT_TIMEOUT,
        durable: bool = True,
        on_unknown_submit: OnUnknownSubmit = "fail",
        on_budget: OnBudget = "fail",
        output_path: str | None = None,
        reuse: bool = False,
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
        self.model_parameters = model_parameters
        self.model = model
        self.kandinsky_conn_id = kandinsky_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.durable = durable
        self.on_unknown_submit = on_unknown_submit
        self.on_budget = on_budget
        self.output_path = output_path
        self.reuse = reuse
        self.max_in_flight = max_in_flight
        self.on_item_failure = on_item_failure
        self.max_xcom_items = max_xcom_items
        self.max_cost = max_cost
        #: How many jobs this process waits for.
        self.in_flight_count = 0
        self._check_arguments()

    def execute(self, context: Context) -> list[dict[str, Any]] | None:
        """Submit what no earlier try has, so many at a time; wait for them here, or defer."""
        return self._engine(context).run(is_resumed=False)

    def execute_after_reset(self, context: Context, event: Any, **carried_over: Any) -> list[dict[str, Any]] | None:
        """Go on with submissions that had to wait for the rate limit to reset."""
        return self._engine(context).run(**carried_over)

    def execute_complete(
        self, context: Context, event: dict[str, Any], **carried_over: Any
    ) -> list[dict[str, Any]] | None:
        """Record what the trigger found, and submit as many again.

        :param event: see :class:`~airflow_provider_kandinsky.triggers.batch.KandinskyBatchTrigger`.
        :param carried_over: what the process that deferred has left to this one.
        """
        return self._engine(context).run(outcomes=event["outcomes"], **carried_over | {"resets": 0})

    def on_kill(self) -> None:
        """Say what became of the money; the service has no call to cancel a job."""
        if self.in_flight_count:
            self.log.warning(
                "%d requests of the batch were not cancelled and may still be billed", self.in_flight_count
            )

    def _engine(self, context: Context) -> BatchTask:
        from airflow_provider_kandinsky.operators._batch import BatchTask

        return BatchTask(self, context)

    def _requests_and_defaults(self) -> tuple[Any, dict[str, Any]]:
        return self.requests, {name: getattr(self, name) for name in SHARED_ARGUMENTS}

    def _check_literals(self) -> None:
        literals = literal_arguments(self, SHARED_ARGUMENTS)
        request = TextToImageRequest.of("(each item has its own)", literals, self.model)
        self._check_shared(request.samples or 1)
        check_choice("on_item_failure", self.on_item_failure, OnItemFailure)
        if not isinstance(self.max_in_flight, int) or not 1 <= self.max_in_flight <= _MOST_IN_FLIGHT:
            raise invalid_argument("max_in_flight", self.max_in_flight, f"an integer from 1 to {_MOST_IN_FLIGHT}")
        if not isinstance(self.max_xcom_items, int) or self.max_xcom_items < 0:
            raise invalid_argument("max_xcom_items", self.max_xcom_items, "an integer, 0 or more")
