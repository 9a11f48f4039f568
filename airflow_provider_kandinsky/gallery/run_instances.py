"""The Kandinsky tasks of a DAG and their instances in a run, read page by page from Airflow's REST API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow.utils.state import TaskInstanceState

from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError
from airflow_provider_kandinsky.gallery.coerce import mapping
from airflow_provider_kandinsky.gallery.regions import region_parameters
from airflow_provider_kandinsky.gallery.task_records import (
    FAILED_STATES,
    FINISHED_STATES,
    DagTask,
    Scope,
    TaskKind,
    TaskRecord,
    read_error,
    read_xcoms,
)

#: Task instances whose XComs are read at the same time; the API server has other clients.
_CONCURRENT_READS: Final = 4
#: Up to so many task instances, a run is read completely.
_SMALL_RUN: Final = 200
#: Task instances per call: small enough that their longest rendered fields fit into one response.
_CHUNK_SIZE: Final = 50
#: Airflow's default of ``[api] maximum_page_limit``.
_MAX_PAGE_SIZE: Final = 100
#: A stable order, so that paging neither repeats nor skips one.
_BY_ID: Final = "id"
#: Tasks that the DAG no longer has, checked per run.
_MAX_REMOVED_TASKS: Final = 50
#: From Airflow itself, as it refuses those it does not know: to wait for a person is one since 3.3.
_UNFINISHED_STATES: Final = (
    "none",
    *(state.value for state in TaskInstanceState if state.value not in (*FINISHED_STATES, *FAILED_STATES)),
)
#: Instances whose latest try failed are listed first.
_ORDER: Final = (
    FAILED_STATES,
    (*_UNFINISHED_STATES, *(state for state in FINISHED_STATES if state not in FAILED_STATES)),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of a task's instances.

    :param failed: those whose latest try failed.
    """

    all: int = 0
    failed: int = 0
    under_way: int = 0

    def beside(self, records: Sequence[TaskRecord]) -> Counts:
        """Those that are not among some instances of the task."""
        return Counts(
            self.all - len(records),
            self.failed - sum(record.state in FAILED_STATES for record in records),
            self.under_way - sum(record.state not in (*FINISHED_STATES, *FAILED_STATES) for record in records),
        )


class RunInstances:
    """The Kandinsky tasks of a run and their instances.

    :param serves_files: whether stored files may be read.
    """

    def __init__(self, api: AirflowApi, scope: Scope, *, serves_files: bool) -> None:
        self._api = api
        self._scope = scope
        self._run_path = ("api", "v2", "dags", scope.dag_id, "dagRuns", scope.run_id)
        self._path = (*self._run_path, "taskInstances")
        self._kinds: dict[str, TaskKind] = {}
        self._serves_files = serves_files
        self._slots = asyncio.Semaphore(_CONCURRENT_READS)
        self._all: list[TaskRecord] | None = None

    async def read_tasks(self) -> list[DagTask]:
        """Read the Kandinsky tasks of the DAG's latest version; all that is read later is recognised by them.

        :return: in the order of the grid; empty if the DAG was deleted.
        """
        tasks = await self._dag_tasks()
        kinds = {task["task_id"]: TaskKind.from_fields(task["template_fields"] or ()) for task in tasks}
        self._kinds = {task_id: kind for task_id, kind in kinds.items() if kind}
        if not self._kinds:
            return []
        # Only the grid's own endpoint has its order, and says which tasks are in a mapped group.
        grid = await self._grid()
        positions = {node["id"]: position for position, node in enumerate(grid)}
        mapped = {task["task_id"] for task in tasks if task["is_mapped"]}
        mapped |= {node["id"] for node in grid if node.get("is_mapped")}
        in_order = sorted(self._kinds, key=lambda task_id: (positions.get(task_id, len(positions)), task_id))
        return [DagTask(task_id, self._kinds[task_id], task_id in mapped) for task_id in in_order]

    async def read_if_few(self) -> list[TaskRecord] | None:
        """Read all task instances if there are at most 200; later calls then use these.

        :return: ``None`` if there are more.
        :raises ApiError: there is no such run.
        """
        records, total = await self._list(limit=_CHUNK_SIZE, order_by=_BY_ID)
        if not total:
            # Airflow 3.1 lists nothing for a run of another DAG.
            await self._api.get(*self._run_path)
        while len(records) < total <= _SMALL_RUN:
            more, total = await self._list(limit=_CHUNK_SIZE, offset=len(records), order_by=_BY_ID)
            if not more:
                break
            records += more
        self._all = sorted(records, key=lambda record: record.map_index) if total <= _SMALL_RUN else None
        return self._all

    async def one(self, scope: Scope) -> TaskRecord:
        """Read one task instance.

        :raises ApiError: it does not exist.
        """
        parameters = region_parameters(scope.region)
        return self._record(await self._api.get(*self._path, scope.task_id, scope.map_index, **parameters))

    async def with_xcoms(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        """Some task instances with their XComs, and their rendered fields."""
        return list(await asyncio.gather(*map(self._with_xcoms, records)))

    async def read_error(self, record: TaskRecord) -> Any:
        """See :func:`.task_records.read_error`."""
        async with self._slots:
            return await read_error(self._api, self._scope, record)

    async def _with_xcoms(self, record: TaskRecord) -> TaskRecord:
        if record.state is None or record.kind is None:
            return record
        async with self._slots:
            return await read_xcoms(self._api, self._scope, await self._with_fields(record))

    async def _with_fields(self, record: TaskRecord) -> TaskRecord:
        """A listed task instance with its rendered fields, which Airflow 3.1 and 3.2 have only where one is read."""
        if record.fields:
            return record
        read = await self.one(self._scope.of(record))
        return replace(read, kind=record.kind or read.kind)

    async def removed_tasks(self) -> list[DagTask]:
        """The run's Kandinsky tasks that the DAG no longer has, sorted by id.

        In a run with more than 200 task instances, at most 50 removed tasks are checked, and none of a deleted DAG.
        """
        records = self._all
        if records is None:
            run_after = (await self._api.get(*self._run_path)).get("run_after")
            filters = {"run_after_gte": run_after, "run_after_lte": run_after} if run_after else {}
            known = await self._known_tasks()
            nodes = await self._grid(**filters)
            task_ids = sorted({node["id"] for node in nodes} - known)[:_MAX_REMOVED_TASKS]
            records = [record for task_id in task_ids for record in (await self._list(task_id=task_id, limit=1))[0]]
        others = {record.task_id: record for record in records if record.task_id not in self._kinds}
        if not all(record.fields for record in others.values()):
            known = await self._known_tasks()
            removed = [record for task_id, record in others.items() if task_id not in known]
            others = {record.task_id: await self._with_fields(record) for record in removed}
        return [
            DagTask(task_id, record.kind, record.map_index >= 0)
            for task_id, record in sorted(others.items())
            if record.kind
        ]

    async def _known_tasks(self) -> set[str]:
        return {task["task_id"] for task in await self._dag_tasks()}

    async def _dag_tasks(self) -> list[Mapping[str, Any]]:
        """All tasks of the latest version; empty if the DAG was deleted, whose runs can still be there."""
        try:
            return list((await self._api.get("api", "v2", "dags", self._scope.dag_id, "tasks"))["tasks"])
        except ApiError as error:
            if error.status_code != 404:
                raise
            return []

    async def _grid(self, **runs: str) -> list[Mapping[str, Any]]:
        """The tasks of the grid: of the latest version and of those that the given runs have had."""
        try:
            return list(_leaves(await self._api.get("ui", "grid", "structure", self._scope.dag_id, **runs)))
        except ApiError as error:
            if error.status_code not in (404, 422):
                raise
            # Not part of the public API: without it, tasks are sorted by name.
            return []

    async def page(
        self, task_id: str, offset: int, limit: int, *, only_failed: bool = False
    ) -> tuple[list[TaskRecord], Counts]:
        """Read some instances of a task: the failed ones first, then by map index.

        :param offset: how many to skip.
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
        """The ids of tasks with a failed instance; from the first 100 failed instances of a large run."""
        if self._all is None:
            records, _ = await self._list(state=FAILED_STATES, limit=_MAX_PAGE_SIZE, order_by="map_index")
        else:
            records = [record for record in self._all if record.state in FAILED_STATES]
        return {record.task_id for record in records}

    async def _some(self, task_id: str, states: Sequence[str], offset: int, limit: int) -> tuple[list[TaskRecord], int]:
        if self._all is None:
            # The API does not accept a limit of 0.
            wanted = {"limit": max(1, limit), "offset": offset, "order_by": "map_index"}
            found, total = await self._list(task_id=task_id, state=states, **wanted)
            return found[:limit], total
        found = [each for each in self._all if each.task_id == task_id and (each.state or "none") in states]
        return found[offset : offset + limit], len(found)

    async def _list(self, **parameters: Any) -> tuple[list[TaskRecord], int]:
        response = await self._api.get(*self._path, **parameters)
        return [self._record(each) for each in response["task_instances"]], response["total_entries"]

    def _record(self, instance: Mapping[str, Any]) -> TaskRecord:
        kind = self._kinds.get(instance["task_id"])
        return TaskRecord.from_api(instance, kind, serves_files=self._serves_files)


def _leaves(nodes: Any) -> Iterator[Mapping[str, Any]]:
    for node in nodes if isinstance(nodes, list) else []:
        if children := mapping(node).get("children"):
            yield from _leaves(children)
        elif "id" in mapping(node):
            yield node
