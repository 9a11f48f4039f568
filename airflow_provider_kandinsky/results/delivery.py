"""How a result reaches XCom and the user's own storage, and whether that takes a worker.

A finished job whose URLs are all that is wanted is delivered by the triggerer, which writes the XComs and ends the
task: no second worker start. Whatever Airflow does only in a worker at the end of a task resumes the task there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import Context as CallContext
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from airflow.sdk import AssetAlias, BaseOperator

from airflow_provider_kandinsky.compat.airflow import (
    get_xcom,
    has_success_listener,
    set_xcom,
    triggers_can_set_mapped_length,
    triggers_can_set_xcom,
)
from airflow_provider_kandinsky.links.kandinsky import KandinskyImageLink
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.storage import OutputPath, store
from airflow_provider_kandinsky.segmind.errors import BadRequestError, ImageRefusedError, KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook

log = logging.getLogger(__name__)


def deliver(
    result: GenerationResult,
    context: Context,
    hook: KandinskyHook,
    output_path: str | None,
    *,
    already_delivered: bool = False,
) -> list[str]:
    """Push what is told about a generation, store its pictures if asked to, and give what the task returns.

    :param output_path: where to store the pictures; see :class:`~.storage.OutputPath`.
    :param already_delivered: whether it was delivered before, so that it is not to be counted.
    :return: the pictures' URLs, in the service's order; with an ``output_path`` the URIs of the stored ones, and the
        URLs under XCom ``source_urls``.
    :raises ImageRefusedError: pictures came as bytes, which do not go into XCom, and there is no ``output_path``.
    """
    ti = context["ti"]
    ti.xcom_push(key="generation", value=result.generation())
    uris = result.urls
    if output_path is not None:
        ti.xcom_push(key="source_urls", value=result.urls)
        uris = _store(result, hook, output_path)
    elif result.has_image_data:
        raise image_bytes_without_output_path(result.request_id)
    add_outlet_event_extra(context, {"request_ids": [result.request_id], "uris": uris, "cost": result.cost})
    log.info(in_words(result, uris))
    if not already_delivered:
        JobMetrics.of_task(ti, result.model).completed(result)
    return uris


def _store(result: GenerationResult, hook: KandinskyHook, output_path: str) -> list[str]:
    try:
        path = OutputPath(output_path, len(result.images))
    except BadRequestError as error:
        # A sensor learns only now how many pictures there are.
        raise ImageRefusedError(error.message, request_id=result.request_id) from error
    (uris,) = store([result], path, hook.settings.download_policy)
    if isinstance(uris, KandinskyError):
        raise uris
    return uris


def error_for_xcom(error: KandinskyError) -> dict[str, str]:
    """What XComs tell of an error: its ``type``, and its ``message`` in full."""
    return {"type": type(error).__name__, "message": str(error)}


def add_outlet_event_extra(context: Context, told: Mapping[str, Any]) -> None:
    """Put into the events of the task's assets what it has made. Airflow takes it from the process that the task ends
    in, so it is called there."""
    for outlet in context.get("outlets") or ():
        # An alias has no event of its own, only those that the user adds to it.
        if not isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].extra |= told


def image_bytes_without_output_path(request_id: str | None) -> ImageRefusedError:
    """Why pictures that came as bytes are not delivered."""
    return ImageRefusedError(
        "The pictures came as bytes, which are not put into XCom. Give the task an output_path and clear it "
        "within the hour: what was bought is then stored",
        request_id=request_id,
    )


def in_words(result: GenerationResult, uris: Sequence[str]) -> str:
    """One line for the log: which request, how many pictures, at what cost, and where they are.

    :param uris: of the pictures.
    """
    cost = "unknown" if result.cost is None else f"${result.cost:g}"
    count = len(result.images)
    return f"Request {result.request_id} gave {count} picture(s); cost: {cost}; to be found at {', '.join(uris)}"


@dataclass(frozen=True, slots=True)
class TriggererDelivery:
    """What the triggerer has to know to end a task; it has no task object to ask.

    :param push_result: the task's ``do_xcom_push``.
    :param push_length: whether a downstream task expands over the result, so that its length is to be stored.
    """

    push_result: bool = True
    push_length: bool = False

    @classmethod
    def plan(cls, task: BaseOperator, context: Context, output_path: str | None) -> Self | None:
        """Decide, in the worker and before deferring, whether the task can end in the triggerer.

        :return: ``None`` if it has to resume in a worker; why is logged, at debug.
        """
        has_mapped_dependants = next(iter(task.iter_mapped_dependants()), None) is not None
        is_mapped = context["ti"].map_index not in (None, -1)
        delivery = cls(
            task.do_xcom_push,
            push_length=has_mapped_dependants and not is_mapped,
        )
        if reason := delivery.obstacle() or _why_not(task, output_path, has_mapped_dependants):
            log.debug("The task will resume in a worker: %s", reason)
            return None
        return delivery

    def obstacle(self) -> str | None:
        """Why this Airflow's triggerer cannot do it, if so. Both ask: the worker that plans it, and the trigger, for it
        may have been planned before an upgrade of Airflow."""
        if not triggers_can_set_xcom():
            return "this Airflow's triggers cannot write XComs"
        if self.push_length and not triggers_can_set_mapped_length():
            return "a downstream task expands over its result, and this Airflow's triggers cannot store its length"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's kwargs."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The way back from :meth:`to_dict`; fields that this version does not know are left out."""
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})

    async def deliver(self, result: GenerationResult, ti: Any) -> None:
        """Write the XComs of a task instance. Its link was written when it deferred, and stays the same.

        :param ti: the trigger's task instance, which tells its name.
        """
        names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        writing = [set_xcom("generation", result.generation(), **names)]
        if self.push_result:
            length = len(result.urls) if self.push_length else None
            writing.append(set_xcom("return_value", result.urls, length, **names))
        # Together, because the triggerer takes its time to answer each.
        await asyncio.gather(*writing)


_first_calls: MutableMapping[asyncio.AbstractEventLoop, asyncio.Task[None]] = WeakKeyDictionary()


def make_first_call(ti: Any) -> None:
    """Have this triggerer do now what its first call for a trigger takes: Airflow 3.3 builds an API within the process
    then, for 4 to 8 s of CPU, in which it answers nothing. Better while jobs run than when the first is finished.

    :param ti: a task instance with XCom ``request_id``, which is read; Airflow logs an error for one that is not there.
    """
    loop = asyncio.get_running_loop()
    if loop not in _first_calls and triggers_can_set_xcom():
        # In a context of its own: it is not one trigger's.
        _first_calls[loop] = loop.create_task(_read_request_id(ti), context=CallContext())


async def _read_request_id(ti: Any) -> None:
    try:
        await get_xcom("request_id", dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
    except Exception:
        log.debug("The triggerer's first call has failed; the next one will say so, if it matters", exc_info=True)


def _why_not(task: BaseOperator, output_path: str | None, has_mapped_dependants: bool) -> str | None:
    """What of a task's end happens in a worker only, in every Airflow."""
    reasons = {
        "the pictures are to be stored (output_path)": output_path is not None,
        "it has outlets": bool(task.outlets),
        "it has an on_success_callback": bool(task.on_success_callback),
        "it has a post_execute": type(task).post_execute is not BaseOperator.post_execute
        or task._post_execute_hook is not None,
        "its execute_complete is overridden": not _is_ours(task, "execute_complete"),
        "it has other extra links than ours": not all(
            isinstance(link, KandinskyImageLink) for link in task.operator_extra_links
        ),
        "it has a map_index_template": getattr(task, "map_index_template", None) is not None,
        "its result is the DAG's": bool(getattr(task, "returns_dag_result", False)),
        "a downstream task expands over a result that is not pushed": has_mapped_dependants and not task.do_xcom_push,
        "a listener wants to hear of its success": has_success_listener(),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _is_ours(task: BaseOperator, method: str) -> bool:
    module: str = getattr(type(task), method).__module__
    return module.partition(".")[0] == __name__.partition(".")[0]
