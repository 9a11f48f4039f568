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
from airflow_provider_kandinsky.results.delivery import TriggererDelivery, in_words, make_first_call
from airflow_provider_kandinsky.segmind.errors import KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.triggers.min_lifetime import ensure_min_lifetime
from airflow_provider_kandinsky.triggers.stall_guard import stall_guard_of_this_loop


class KandinskyJobTrigger(BaseTrigger):
    """Fire once, when a job is finished, has failed, or the deadline has come.

    It holds ids and numbers only, for its arguments lie in clear text in the database; and it can be run again from
    them at any time, for a triggerer that dies is followed by another. Every argument but the first has a default,
    and unknown ones are ignored, so that rows written by another version can be run.

    Where the worker has found that nothing more is to be done there, success ends the task from here. Else the event
    holds ``request_id``, ``seed``, and either ``error`` (see
    :meth:`~airflow_provider_kandinsky.segmind.errors.KandinskyError.to_dict`), or ``result`` (see
    :meth:`~airflow_provider_kandinsky.segmind.schemas.GenerationResult.to_dict`), or, where the pictures came as
    bytes, neither: those are for the worker to fetch.

    :param request_id: the job.
    :param kandinsky_conn_id: the connection; the key is looked up where it is used.
    :param model: the slug, to be told in the result.
    :param submitted_at: when the job was submitted, seconds since the epoch.
    :param deadline: when to stop waiting, seconds since the epoch; it stays the same through restarts.
    :param poll_interval: seconds between polls; adaptive if ``None``.
    :param seed: the seed that was sent, to be told in the result if the service does not.
    :param delivery: how to end the task from here if the job gives URLs; see
        :class:`~airflow_provider_kandinsky.results.delivery.TriggererDelivery`. Without it the task resumes in a
        worker.
    """

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

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments to run this trigger from, anywhere and at any time."""
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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once: end the task, or resume it."""
        started = asyncio.get_running_loop().time()
        stall_guard = stall_guard_of_this_loop()
        # A trigger that starts late, or again, may find its deadline past.
        time_left = max(0.0, self.deadline - time.time())
        self.log.info("Waiting for request %s, for %.0f s at most", self.request_id, time_left)
        if self.delivery is not None and self.task_instance is not None and self.model is not None:
            make_first_call(self.task_instance)  # not for a sensor, which knows no model and has pushed no XCom
        found: GenerationResult | KandinskyError
        try:
            found = await poll_with_shared_client(
                self.kandinsky_conn_id,
                self.request_id,
                self.model,
                submitted_at=self.submitted_at,
                deadline=self.deadline,
                poll_interval=self.poll_interval,
            )
        except KandinskyError as error:
            found = error
        else:
            found = found.with_seed(self.seed)
            # Another triggerer may have delivered it, and the user cleared the task since.
            await stall_guard.wait_for_reassignment()
            if await self._deliver(found):
                yield TaskSuccessEvent()
                return
        await ensure_min_lifetime(self, started)
        event = {"request_id": self.request_id, "seed": self.seed} | outcome_for_event(found)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's class is not typed

    async def _deliver(self, result: GenerationResult) -> bool:
        """Write the task's XComs, if the task can end here: not where the worker decided against it, not for pictures
        that came as bytes, and not in ``dag.test()``, which gives triggers no task instance."""
        ti = self.task_instance
        if self.delivery is None or result.has_image_data or ti is None:
            return False
        delivery = TriggererDelivery.from_dict(self.delivery)
        if obstacle := delivery.obstacle():
            self.log.info("Request %s is finished; a worker will deliver it: %s", self.request_id, obstacle)
            return False
        try:
            await delivery.deliver(result, ti)
        except Exception:
            # Whatever an XCom backend may raise: the result is in hand, and there is another way to deliver it.
            self.log.exception("The result of request %s could not be written here; a worker will", self.request_id)
            return False
        self.log.info(in_words(result, result.urls))
        await asyncio.to_thread(JobMetrics.of_trigger(ti, self.model).completed, result)
        return True

    async def on_kill(self) -> None:
        """Say what became of the money. Nothing is cancelled: the service cannot, and another triggerer may have
        taken this job over while it is still wanted."""
        self.log.warning("Request %s is no longer waited for here; it may still be billed", self.request_id)


def outcome_for_event(found: GenerationResult | KandinskyError) -> dict[str, Any]:
    """What of a job's end travels in an event: its ``error``, its ``result``, or neither, where the pictures came as
    bytes."""
    if isinstance(found, KandinskyError):
        return {"error": found.to_dict()}
    return {} if found.has_image_data else {"result": found.to_dict()}


def result_in_event(event: Mapping[str, Any], hook: KandinskyHook, model: str | None = None) -> GenerationResult:
    """What a trigger's event tells, back in a worker.

    :param hook: to fetch what does not travel in events.
    :raises KandinskyError: the error that the trigger gave up with.
    """
    if "error" in event:
        raise error_from_dict(event["error"])
    if "result" in event:
        return GenerationResult.from_dict(event["result"])
    return hook.get_result(event["request_id"], model).with_seed(event.get("seed"))
