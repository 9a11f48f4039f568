"""Wait for one job in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.shared_client import poll_with_shared_client
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.delivery import summarize_result
from airflow_provider_kandinsky.results.triggerer_delivery import TriggererDelivery, warm_up_xcom
from airflow_provider_kandinsky.segmind.errors import KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.http.results import get_finished_result
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.min_lifetime import MIN_TRIGGER_LIFETIME, ensure_min_lifetime
from airflow_provider_kandinsky.triggers.stall_guard import stall_guard_of_this_loop


class KandinskyJobTrigger(BaseTrigger):
    """Poll a job until it is finished, has failed, or the deadline has come, and fire once.

    It holds ids and numbers only, because the database keeps its arguments in clear text. It can be restarted from them
    at any time, in any triggerer. Every argument but the first has a default, and unknown ones are ignored, so that a
    row written by another version can be run.

    With a ``delivery``, success ends the task from here. Else the event holds ``request_id``, ``seed``, and
    either ``error`` (see :meth:`~airflow_provider_kandinsky.segmind.errors.KandinskyError.to_dict`), or ``result`` (see
    :meth:`~airflow_provider_kandinsky.segmind.schemas.GenerationResult.to_dict`), or neither if the images came
    as bytes, which the worker has to fetch.

    :param request_id: the job.
    :param kandinsky_conn_id: the connection; the key is looked up where it is used.
    :param model: the slug, for the result.
    :param submitted_at: when the job was submitted, seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch; restarts do not change it.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    :param seed: the seed that was sent, for the result if the service does not return it.
    :param samples: how many images the job makes, all as URLs; ``None`` if that is not known, so that its result is
        always fetched.
    :param delivery: how to end the task from here if the result has URLs; see
        :class:`~airflow_provider_kandinsky.results.triggerer_delivery.TriggererDelivery`. ``None``: the task resumes
        in a worker.
    """

    #: A :class:`~.waiting.poller.PollPolicy`: how the job is polled; ``None`` is the usual.
    poll_policy: Any = None
    #: Seconds that this lives at least if it resumes its task.
    min_lifetime = MIN_TRIGGER_LIFETIME

    def __init__(
        self,
        request_id: str,
        kandinsky_conn_id: str = KandinskyHook.default_conn_name,
        model: str | None = None,
        submitted_at: float = 0.0,
        deadline: float = 0.0,
        poll_interval: float | None = None,
        seed: int | None = None,
        delivery: Mapping[str, Any] | None = None,
        samples: int | None = None,
        **_unknown_kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is not typed
        self.request_id = request_id
        self.kandinsky_conn_id = kandinsky_conn_id
        self.model = model
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.seed = seed
        self.delivery = delivery
        self.samples = samples

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, from which any triggerer can run this at any time."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "request_id": self.request_id,
                "kandinsky_conn_id": self.kandinsky_conn_id,
                "model": self.model,
                "submitted_at": self.submitted_at,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "seed": self.seed,
                "delivery": self.delivery,
                "samples": self.samples,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once: end the task, or resume it."""
        started = asyncio.get_running_loop().time()
        stall_guard = stall_guard_of_this_loop()
        # A trigger that starts late, or again, may find that its deadline has passed.
        time_left = max(0.0, self.deadline - time.time())
        self.log.info("Waiting for request %s, for %.0f s at most", self.request_id, time_left)
        if self.delivery is not None and self.task_instance is not None and self.model is not None:
            warm_up_xcom(self.task_instance)  # not for a sensor, which knows no model and has pushed no XCom
        outcome: GenerationResult | KandinskyError
        try:
            outcome = await poll_with_shared_client(
                self.kandinsky_conn_id,
                self.request_id,
                self.model,
                submitted_at=self.submitted_at,
                deadline=self.deadline,
                poll_interval=self.poll_interval,
                samples=self.samples,
                poll_policy=self.poll_policy,
            )
        except KandinskyError as error:
            outcome = error
        else:
            outcome = outcome.with_seed(self.seed)
            # Another triggerer may have delivered it meanwhile, and the user may have cleared the task since.
            await stall_guard.wait_for_reassignment()
            if await self._deliver(outcome):
                yield TaskSuccessEvent()
                return
        await ensure_min_lifetime(self, started, self.min_lifetime)
        event = {"request_id": self.request_id, "seed": self.seed} | outcome_for_event(outcome)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _deliver(self, result: GenerationResult) -> bool:
        """Write the task's XComs, if the task can end here: not if the worker decided against it, not for images that
        came as bytes, and not in ``dag.test()``, which gives triggers no task instance.

        :return: whether they were written.
        """
        ti = self.task_instance
        if self.delivery is None or result.has_image_data or ti is None:
            return False
        delivery = TriggererDelivery.from_dict(self.delivery)
        if obstacle := delivery.obstacle():
            self.log.info("Request %s completed; a worker will deliver it: %s", self.request_id, obstacle)
            return False
        try:
            await delivery.deliver(result, ti)
        except Exception:
            # An XCom backend may raise anything; a worker can still deliver the result.
            self.log.exception("Could not write the XComs of request %s; a worker will", self.request_id)
            return False
        self.log.info(summarize_result(result, result.urls))
        await asyncio.to_thread(JobMetrics.of_trigger(ti, self.model).completed, result)
        return True

    async def on_kill(self) -> None:
        """Log that the job may still be billed. It is not cancelled: the service cannot do that, and another triggerer
        may be polling it."""
        self.log.warning("No longer waiting for request %s here; it may still be billed", self.request_id)


def outcome_for_event(outcome: GenerationResult | KandinskyError) -> dict[str, Any]:
    """A job's outcome as an event holds it: its ``error``, its ``result``, or neither if the images came as bytes."""
    if isinstance(outcome, KandinskyError):
        return {"error": outcome.to_dict()}
    return {} if outcome.has_image_data else {"result": outcome.to_dict()}


def result_in_event(event: Mapping[str, Any], hook: KandinskyHook) -> GenerationResult:
    """The result in a trigger's event, back in a worker.

    :param hook: to fetch images that came as bytes.
    :raises KandinskyError: the error in the event.
    """
    if "error" in event:
        raise error_from_dict(event["error"])
    if "result" in event:
        return GenerationResult.from_dict(event["result"])
    # A sensor does not know when the job was submitted.
    result = hook.get_conn().call(get_finished_result, event["request_id"], None, submitted_at=time.time())
    return result.with_seed(event.get("seed"))
