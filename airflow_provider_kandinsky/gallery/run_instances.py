"""The tasks of a DAG that are ours, and their instances in a run, page by page; asked of Airflow's REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError
from airflow_provider_kandinsky.gallery.coerce import mapping
from airflow_provider_kandinsky.gallery.task_records import FINISHED_STATES, FAILED_STATES, Scope, TaskKind, TaskRecord

#: Of a run that has no more task instances than this, all are read before any is shown.
_SMALL_RUN: Final = 200
#: So many are read in one call: with rendered fields as long as Airflow keeps them, its answer is still short enough.
_CHUNK_SIZE: Final = 50
#: The most that Airflow gives in one answer, unless its administrator has changed ``[api] maximum_page_limit``.
_MAX_PAGE_SIZE: Final = 100
#: An order in which none is read twice, nor left out.
_BY_ID: Final = "id"
_UNFINISHED_STATES: Final = (
    "none",
    "scheduled",
    "queued",
    "running",
    "restarting",
    "up_for_reschedule",
    "deferred",
)
#: How instances are listed: those whose latest try has failed come first.
_ORDER: Final = (FAILED_STATES, (*_UNFINISHED_STATES, *(state for state in FINISHED_STATES if state not in FAILED_STATES)))


class NotFoundError(LookupError):
    """There is no such run, or no such task in it."""


@dataclass(frozen=True, slots=True)
class DagTask:
    """A task that makes images.

    :param is_mapped: whether it may have several instances in a run.
    """

    task_id: str
    kind: TaskKind
    is_mapped: bool = False


async def read_tasks(api: AirflowApi, dag_id: str) -> list[DagTask]:
    """Read which tasks of a DAG, as it is now, make images.

    :return: in the order of the grid.
    """
    try:
        tasks = (await api.get("api", "v2", "dags", dag_id, "tasks"))["tasks"]
    except ApiError as error:
        if error.status != 404:
            raise
        # The DAG is gone, and its runs are still there.
        return []
    ours = {
        task["task_id"]: DagTask(task["task_id"], kind, bool(task["is_mapped"]))
        for task in tasks
        if (kind := TaskKind.from_fields(task["template_fields"] or ()))
    }
    if not ours:
        return []
    # Only the grid's own call gives its order, and which tasks are in a mapped group.
    grid = {node["id"]: bool(node.get("is_mapped")) for node in _leaves(await _read_grid(api, dag_id))}
    places = {task_id: place for place, task_id in enumerate(grid)}
    return [
        DagTask(task.task_id, task.kind, task.is_mapped or grid.get(task.task_id, False))
        for task in sorted(ours.values(), key=lambda task: (places.get(task.task_id, len(places)), task.task_id))
    ]


async def _read_grid(api: AirflowApi, dag_id: str) -> Any:
    try:
        return await api.get("ui", "grid", "structure", dag_id)
    except ApiError as error:
        if error.status not in (404, 422):
            raise
        # Not a part of the public API: an Airflow without it has the tasks in the order of their names.
        return []


def _leaves(nodes: Any) -> Iterator[Mapping[str, Any]]:
    for node in nodes if isinstance(nodes, list) else []:
        if children := mapping(node).get("children"):
            yield from _leaves(children)
        elif "id" in mapping(node):
            yield node


@dataclass(frozen=True, slots=True)
class Counts:
    """How many instances of a task there are.

    :param failed: of so many the latest try has failed.
    """

    all: int
    failed: int
    under_way: int


class RunInstances:
    """The task instances of a run.

    :param tasks: of the DAG, those that make images.
    :param serves_files: whether stored files may be read.
    """

    def __init__(self, api: AirflowApi, scope: Scope, tasks: Sequence[DagTask], *, serves_files: bool) -> None:
        self._api = api
        self._path = ("api", "v2", "dags", scope.dag_id, "dagRuns", scope.run_id, "taskInstances")
        self._kinds = {task.task_id: task.kind for task in tasks}
        self._serves_files = serves_files
        self._all: list[TaskRecord] | None = None

    async def read_if_few(self) -> list[TaskRecord] | None:
        """Read them all, for what follows, if they are few.

        :return: ``None`` if they are many.
        :raises NotFoundError: there is no such run.
        """
        records, total = await self._list(limit=_CHUNK_SIZE, order_by=_BY_ID)
        while len(records) < total <= _SMALL_RUN:
            more, total = await self._list(limit=_CHUNK_SIZE, offset=len(records), order_by=_BY_ID)
            if not more:
                break
            records += more
        self._all = sorted(records, key=lambda record: record.map_index) if total <= _SMALL_RUN else None
        return self._all

    async def one(self, task_id: str, map_index: int) -> TaskRecord:
        """Read one task instance.

        :raises NotFoundError: it is not there.
        """
        # Not mapped is -1 there, too.
        path = (*self._path, task_id, map_index)
        try:
            return self._record(await self._api.get(*path))
        except ApiError as error:
            raise _translated(error) from error

    async def page(
        self, task_id: str, offset: int, limit: int, *, only_failed: bool = False
    ) -> tuple[list[TaskRecord], Counts]:
        """Read some instances of a task: first those that have failed, each by its map index.

        :param offset: how many to leave out.
        :param limit: how many to read at most.
        """
        records: list[TaskRecord] = []
        totals: list[int] = []
        for states in _ORDER[: 1 if only_failed else None]:
            left, skipped = limit - len(records), max(0, offset - sum(totals))
            found, total = await self._some(task_id, states, skipped, left)
            records += found
            totals.append(total)
        _, under_way = await self._some(task_id, _UNFINISHED_STATES, 0, 0)
        return records, Counts(sum(totals), totals[0], under_way)

    async def failed_tasks(self) -> set[str]:
        """The ids of tasks of which an instance has failed; of many, the first ones."""
        if self._all is None:
            records, _ = await self._list(state=FAILED_STATES, limit=_MAX_PAGE_SIZE, order_by="map_index")
        else:
            records = [record for record in self._all if record.state in FAILED_STATES]
        return {record.task_id for record in records}

    async def _some(self, task_id: str, states: Sequence[str], offset: int, limit: int) -> tuple[list[TaskRecord], int]:
        if self._all is None:
            # None at all cannot be asked for.
            wanted = {"limit": max(1, limit), "offset": offset, "order_by": "map_index"}
            found, total = await self._list(task_id=task_id, state=states, **wanted)
            return found[:limit], total
        those = [each for each in self._all if each.task_id == task_id and (each.state or "none") in states]
        return those[offset : offset + limit], len(those)

    async def _list(self, **parameters: Any) -> tuple[list[TaskRecord], int]:
        try:
            answer = await self._api.get(*self._path, **parameters)
        except ApiError as error:
            raise _translated(error) from error
        # A DAG id of "~" stands for all DAGs there.
        return [self._record(each) for each in answer["task_instances"]], answer["total_entries"]

    def _record(self, instance: Mapping[str, Any]) -> TaskRecord:
        kind = self._kinds.get(instance["task_id"])
        return TaskRecord.from_api(instance, kind, serves_files=self._serves_files)


def _translated(error: ApiError) -> Exception:
    return NotFoundError(str(error)) if error.status == 404 else error
