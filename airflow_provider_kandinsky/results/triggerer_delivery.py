"""Whether a task can end in the triggerer, and how it delivers a result there.

A finished job of which only the URLs are wanted is delivered by the triggerer, which writes the XComs and ends the
task: no second worker start. What Airflow does only in a worker at the end of a task makes the task resume there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from contextvars import Context as CallContext
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary

from airflow.sdk import BaseOperator, Context

from airflow_provider_kandinsky.compat.airflow import (
    get_xcom,
    has_success_listener,
    set_xcom,
    triggers_can_set_mapped_length,
    triggers_can_set_xcom,
)
from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TriggererDelivery:
    """What the triggerer needs to end a task: it has no task object.

    :param push_result: the task's ``do_xcom_push``.
    :param push_length: whether a downstream task expands over the result, so that its length must be stored.
    """

    push_result: bool = True
    push_length: bool = False

    @classmethod
    def plan(cls, task: BaseOperator, context: Context, output_path: str | None) -> Self | None:
        """Decide, in the worker and before deferring, whether the task can end in the triggerer.

        :return: ``None`` if it must resume in a worker; the reason is logged at debug level.
        """
        has_mapped_dependants = next(iter(task.iter_mapped_dependants()), None) is not None
        is_mapped = context["ti"].map_index not in (None, -1)
        delivery = cls(task.do_xcom_push, push_length=has_mapped_dependants and not is_mapped)
        if reason := delivery.obstacle() or _needs_worker(task, output_path, has_mapped_dependants):
            log.debug("The task will resume in a worker: %s", reason)
            return None
        return delivery

    def obstacle(self) -> str | None:
        """Why this Airflow's triggerer cannot deliver; ``None`` if it can.

        The worker asks when it plans. The trigger asks again, because Airflow may have been upgraded in between.
        """
        if not triggers_can_set_xcom():
            return "this Airflow's triggers cannot write XComs"
        if self.push_length and not triggers_can_set_mapped_length():
            return "a downstream task expands over its result, and this Airflow's triggers cannot store its length"
        return None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a trigger's kwargs, perhaps of another version."""
        return from_stored(cls, values)

    async def deliver(self, result: GenerationResult, ti: Any) -> None:
        """Write the XComs of a task instance. Its link was written when it deferred, and stays the same.

        :param ti: the trigger's task instance.
        """
        names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        writes = [set_xcom("generation", result.generation(), **names)]
        if self.push_result:
            length = len(result.urls) if self.push_length else None
            writes.append(set_xcom("return_value", result.urls, length, **names))
        # Concurrently, because the triggerer is slow to answer each.
        await asyncio.gather(*writes)


_warmups: MutableMapping[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()


def warm_up_xcom(ti: Any) -> None:
    """Read an XCom in the background, once in an event loop, while jobs still run.

    On the first XCom call of a trigger, Airflow (3.3 and 3.4) builds its API inside the triggerer: 4 to 8 s of CPU,
    during which no other call is answered.

    :param ti: a task instance with XCom ``request_id``, which is read; Airflow logs an error for a missing one.
    """
    loop = asyncio.get_running_loop()
    if loop not in _warmups and triggers_can_set_xcom():
        # In a context of its own: it outlives the trigger that starts it.
        _warmups[loop] = loop.create_task(_read_request_id(ti), context=CallContext())


async def _read_request_id(ti: Any) -> None:
    try:
        await get_xcom("request_id", dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
    except Exception:
        log.debug("The warm-up read of an XCom failed", exc_info=True)


def _needs_worker(task: BaseOperator, output_path: str | None, has_mapped_dependants: bool) -> str | None:
    """Why the task must end in a worker, in every Airflow version; ``None`` if it need not."""
    reasons = {
        "the images are stored (output_path)": output_path is not None,
        "it has outlets": bool(task.outlets),
        "it has an on_success_callback": bool(task.on_success_callback),
        "it has a post_execute": type(task).post_execute is not BaseOperator.post_execute
        or task._post_execute_hook is not None,
        "its execute_complete is overridden": not _is_ours(task, "execute_complete"),
        "it has extra links of its own": not all(_is_ours(link, "get_link") for link in task.operator_extra_links),
        "it has a map_index_template": getattr(task, "map_index_template", None) is not None,
        "its result is the DAG's": bool(getattr(task, "returns_dag_result", False)),
        "a downstream task expands over a result that is not pushed": has_mapped_dependants and not task.do_xcom_push,
        "a listener is registered for its success": has_success_listener(),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _is_ours(owner: object, method: str) -> bool:
    module: str = getattr(type(owner), method).__module__
    return module.partition(".")[0] == __name__.partition(".")[0]
