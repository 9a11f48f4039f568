"""What Airflow's database knows of the tasks of a run, as far as it has to do with pictures.

Read in the API server, with its own session. XCom values are taken as its REST API takes them: the JSON that is in the
database. What a custom XCom backend keeps elsewhere is for workers to resolve, and is not looked at here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Select, Text, case, cast, func, select
from sqlalchemy.orm import Session

from airflow_provider_kandinsky.gallery.places import OutputPlace
from airflow_provider_kandinsky.gallery.shapes import NestedTooDeeplyError, mapping, parse, text

#: A task and its map index, -1 where it is not mapped.
Instance: TypeAlias = tuple[str, int]

#: The XComs that tell whether a task is one of ours; its result is read only then.
_TELLING: Final = ("arguments", "request_id", "generation", "counts", "manifest", "source_urls", "error")
#: The states that a task instance does not leave by itself.
ENDED: Final = ("success", "failed", "skipped", "upstream_failed", "removed")
_RESULT: Final = "return_value"
#: Values whose JSON is longer than this are not read, in characters.
_LONGEST_VALUE: Final = 4 * 2**20


class UnknownRunError(LookupError):
    """There is no such run, or no such task in it."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task instance.

    :param task_id: the task.
    :param map_index: -1 where it is not mapped.
    :param name: what Airflow's UI calls the map index, where the DAG gives it a name.
    :param state: as Airflow writes it; ``None`` before it is scheduled.
    :param xcoms: by key, those that are about pictures.
    :param written_at: when the last of them was written.
    :param conn_id: the connection that it uses, where that is known.
    :param place: where it stores its files; ``None`` where that is not known, or nothing of them may be read.
    :param unreadable: the keys of XComs that are too long, or nested too deeply, to be read.
    """

    task_id: str
    map_index: int
    name: str | None
    state: str | None
    xcoms: Mapping[str, Any]
    written_at: datetime | None = None
    conn_id: str | None = None
    place: OutputPlace | None = None
    unreadable: tuple[str, ...] = ()

    def without_files(self) -> TaskRecord:
        """The same, but none of its stored files may be read."""
        return replace(self, place=None)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which task instances are looked at.

    :param task_id: only this task of the run.
    :param map_index: only this instance of it.
    """

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None

    def select(self, model: Any, *columns: Any) -> Select[Any]:
        """Select columns of a table that has a row for each task instance."""
        query = select(model.task_id, model.map_index, *columns)
        query = query.where(model.dag_id == self.dag_id, model.run_id == self.run_id)
        if self.task_id is not None:
            query = query.where(model.task_id == self.task_id)
        return query if self.map_index is None else query.where(model.map_index == self.map_index)


def read_records(session: Session, scope: Scope) -> tuple[list[TaskRecord], bool]:
    """Read the task instances that have any XCom to do with pictures.

    :return: in the order in which the tasks were started, and mapped ones by their index; and whether there may be
        more to come.
    :raises UnknownRunError: there is no such run, or no such task in it.
    """
    run = select(DagRun.state).where(DagRun.dag_id == scope.dag_id, DagRun.run_id == scope.run_id)
    instances = session.execute(
        scope.select(TaskInstance, TaskInstance.rendered_map_index, TaskInstance.state, TaskInstance.start_date)
    ).all()
    run_state = session.scalar(run)
    if run_state is None or (scope.task_id is not None and not instances):
        raise UnknownRunError
    # A run can have none of its tasks under way and still start the next one.
    is_over = run_state in ENDED or (scope.task_id is not None and all(row.state in ENDED for row in instances))
    xcoms, written_at = _read_xcoms(session, scope)
    rendered = _read_rendered_fields(session, scope, {task_id for task_id, _ in xcoms})
    first_starts: dict[str, tuple[bool, float, str]] = {}
    for row in instances:
        start = (row.start_date is None, row.start_date.timestamp() if row.start_date else 0.0, row.task_id)
        first_starts[row.task_id] = min(start, first_starts.get(row.task_id, start))
    records = [
        TaskRecord(
            row.task_id,
            row.map_index,
            row.rendered_map_index,
            row.state,
            {key: value for key, value in xcoms[at].items() if value is not _UNREADABLE},
            written_at[at],
            conn_id=text(fields.get("kandinsky_conn_id")),
            place=OutputPlace.of(fields.get("output_path")),
            unreadable=tuple(sorted(key for key, value in xcoms[at].items() if value is _UNREADABLE)),
        )
        for row in sorted(instances, key=lambda row: (first_starts[row.task_id], row.map_index))
        if (at := (row.task_id, row.map_index)) in xcoms
        for fields in [rendered.get(at, {})]
    ]
    return records, not is_over


def _read_xcoms(
    session: Session, scope: Scope
) -> tuple[Mapping[Instance, Mapping[str, Any]], Mapping[Instance, datetime]]:
    """The values by key, and when the last of them was written."""
    xcoms: dict[Instance, dict[str, Any]] = {}
    written_at: dict[Instance, datetime] = {}
    everything = scope.select(XComModel, XComModel.key, XComModel.timestamp, _json_of(XComModel.value))
    for row in session.execute(everything.where(XComModel.key.in_(_TELLING))):
        at = (row.task_id, row.map_index)
        xcoms.setdefault(at, {})[row.key] = _value(row.json)
        written_at[at] = max(written_at.get(at, row.timestamp), row.timestamp)
    # The results of other tasks are none of ours, and can be large.
    tasks = {task_id for task_id, _ in xcoms}
    for row in session.execute(everything.where(XComModel.key == _RESULT, XComModel.task_id.in_(tasks))):
        if (at := (row.task_id, row.map_index)) in xcoms:
            xcoms[at][_RESULT] = _value(row.json)
    return xcoms, written_at


def _read_rendered_fields(
    session: Session, scope: Scope, tasks: Collection[str]
) -> Mapping[Instance, Mapping[str, Any]]:
    """The rendered fields, which Airflow keeps for the latest runs only."""
    fields = RenderedTaskInstanceFields
    rows = session.execute(scope.select(fields, _json_of(fields.rendered_fields)).where(fields.task_id.in_(tasks)))
    return {(row.task_id, row.map_index): mapping(_value(row.json)) for row in rows}


def _json_of(column: Any) -> Any:
    """The JSON in a column as text, to be parsed here: as a value, one that is nested too deeply fails them all."""
    json = cast(column, Text)
    return case((func.length(json) > _LONGEST_VALUE, "too long"), else_=json).label("json")


#: In the place of a value that cannot be read.
_UNREADABLE: Final = object()


def _value(json: str | None) -> Any:
    """A value from its JSON. One that a worker has written is JSON; one that the server has written is JSON in JSON,
    and in JSON once more where Airflow 3.1 has changed it over REST."""
    value: Any = json
    for is_outermost in (True, False, False):
        if not isinstance(value, str) or not (is_outermost or value.startswith(("{", "[", '"'))):
            return value
        try:
            value = parse(value)
        except NestedTooDeeplyError:
            return _UNREADABLE
        except ValueError:
            return _UNREADABLE if is_outermost else value
    return value
