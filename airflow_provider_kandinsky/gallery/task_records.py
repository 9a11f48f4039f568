"""One task instance and its XComs, read from Airflow's REST API.

XCom values are the JSON in Airflow's database. What a custom XCom backend keeps elsewhere is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError
from airflow_provider_kandinsky.gallery.coerce import UnreadableError, mapping, parse, text
from airflow_provider_kandinsky.gallery.file_access import OutputFolder
from airflow_provider_kandinsky.gallery.regions import Region, region_parameters

#: Terminal states of a task instance.
FINISHED_STATES: Final = ("success", "failed", "skipped", "upstream_failed", "removed")
#: States of a task instance whose latest try failed.
FAILED_STATES: Final = ("failed", "up_for_retry")

_KEYS: Final = (
    "arguments",
    "request_id",
    "generation",
    "counts",
    "manifest",
    "source_urls",
    "error",
    "images",
    "return_value",
)
#: The XComs of a successful generation; each further one would cost a call.
_RESULT_KEYS: Final = ("generation", "return_value")


class TaskKind(StrEnum):
    """The kind of a Kandinsky task."""

    GENERATION = "generation"
    BATCH = "batch"
    SENSOR = "sensor"
    #: Shows the images of other tasks.
    REVIEW = "review"

    @classmethod
    def from_fields(cls, fields: Collection[str]) -> TaskKind | None:
        """Recognise it by the names of the task's templated fields, which also hold for subclasses of the operators.

        :return: ``None`` for any other task, and for Kandinsky tasks without images.
        """
        if "kandinsky_conn_id" not in fields:
            return None
        if "requests" in fields:
            return cls.BATCH
        if "prompt" in fields:
            return cls.GENERATION
        if "images" in fields:
            return cls.REVIEW
        return cls.SENSOR if "request_id" in fields else None


@dataclass(frozen=True, slots=True)
class DagTask:
    """A Kandinsky task of a DAG.

    :param is_mapped: whether it can have several instances in a run.
    """

    task_id: str
    kind: TaskKind
    is_mapped: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Which task instances are shown.

    :param task_id: ``None`` for all tasks of the run.
    :param map_index: ``None`` for all instances of the task; -1 if the task is not mapped.
    :param region: of one task instance that has one.
    """

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None
    region: Region | None = None

    def of(self, record: TaskRecord) -> Scope:
        """One task instance of this run."""
        return replace(self, task_id=record.task_id, map_index=record.map_index, region=record.region)

    def within(self, region: str | None) -> Scope | None:
        """The same in the region of a gallery's URL, if it has one; ``None`` if that is no region."""
        found = None if region is None else Region.from_query(region)
        return None if region is not None and found is None else replace(self, region=found)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task instance.

    :param map_index: -1 if it is not mapped.
    :param name: the rendered ``map_index_template``, if there is one.
    :param state: Airflow's state; ``None`` before it is scheduled.
    :param xcoms: the values of the XComs in question, by key.
    :param written_at: when the last of them was written.
    :param fields: the rendered fields; empty before rendering, and after Airflow has deleted them.
    :param conn_id: the connection id; ``None`` if unknown.
    :param output_folder: where it stores its files; ``None`` if unknown, or if stored files may not be read.
    :param unreadable: the keys of XComs that are too long, or nested too deeply.
    :param kind: ``None`` if it is not a Kandinsky task.
    :param region: ``None`` if it is neither mapped nor in a loop, and before Airflow 3.4.
    """

    task_id: str
    map_index: int
    name: str | None
    state: str | None
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    written_at: datetime | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    conn_id: str | None = None
    output_folder: OutputFolder | None = None
    unreadable: tuple[str, ...] = ()
    kind: TaskKind | None = TaskKind.GENERATION
    region: Region | None = None

    @classmethod
    def from_api(cls, instance: Mapping[str, Any], kind: TaskKind | None, *, serves_files: bool) -> TaskRecord:
        """Read the REST API's task instance; its XComs are read later.

        :param instance: the JSON object.
        :param kind: of the task in the DAG; ``None`` to recognise it by the rendered fields.
        :param serves_files: whether its stored files may be read.
        """
        fields = mapping(instance.get("rendered_fields"))
        return cls(
            instance["task_id"],
            instance["map_index"],
            text(instance.get("rendered_map_index")),
            instance["state"],
            fields=fields,
            conn_id=text(fields.get("kandinsky_conn_id")),
            output_folder=OutputFolder.from_output_path(fields.get("output_path")) if serves_files else None,
            kind=kind or TaskKind.from_fields(fields),
            region=Region.from_api(instance),
        )

    @property
    def iteration(self) -> int | None:
        """The iteration of a task loop, from 0; ``None`` outside of loops."""
        return None if self.region is None else self.region.iteration


async def read_xcoms(api: AirflowApi, scope: Scope, record: TaskRecord) -> TaskRecord:
    """Read the XComs of a task instance.

    :param scope: its DAG and run.
    :raises ApiError: the user may not read them.
    """
    found: dict[str, _XCom] = {}
    if record.state == "success" and record.kind is not TaskKind.BATCH and record.fields.get("prompt"):
        found = await _read(api, scope, record, _RESULT_KEYS)
    if "generation" not in found:
        path = _path(scope, record)
        listed = await api.get(*path, map_index=record.map_index, limit=100, **region_parameters(record.region))
        keys = {text(mapping(entry).get("key")) for entry in listed["xcom_entries"]}
        found |= await _read(api, scope, record, [key for key in _KEYS if key in keys and key not in found])
    return replace(
        record,
        xcoms={key: xcom.value for key, xcom in found.items() if xcom.value is not _UNREADABLE},
        written_at=max((xcom.written_at for xcom in found.values() if xcom.written_at), default=None),
        unreadable=tuple(sorted(key for key, xcom in found.items() if xcom.value is _UNREADABLE)),
    )


async def read_error(api: AirflowApi, scope: Scope, record: TaskRecord) -> Any:
    """Read the XCom ``error`` of a task instance alone.

    :param scope: its DAG and run.
    :return: unchecked; ``None`` if there is none that can be read.
    :raises ApiError: the user may not read it.
    """
    found = await _read_one(api, scope, record, "error")
    return None if found is None or found.value is _UNREADABLE else found.value


@dataclass(frozen=True, slots=True)
class _XCom:
    value: Any
    written_at: datetime | None = None


async def _read(api: AirflowApi, scope: Scope, record: TaskRecord, keys: Collection[str]) -> dict[str, _XCom]:
    xcoms = await asyncio.gather(*(_read_one(api, scope, record, key) for key in keys))
    return {key: xcom for key, xcom in zip(keys, xcoms, strict=True) if xcom is not None}


async def _read_one(api: AirflowApi, scope: Scope, record: TaskRecord, key: str) -> _XCom | None:
    try:
        place = {"map_index": record.map_index} | region_parameters(record.region)
        entry = await api.get(*_path(scope, record), key, **place)
    except UnreadableError:
        return _XCom(_UNREADABLE)
    except ApiError as error:
        if error.status_code == 404:
            return None
        # Airflow itself cannot serialize what is nested too deeply.
        if error.status_code == 500:
            return _XCom(_UNREADABLE)
        raise
    return _XCom(_value(entry["value"]), datetime.fromisoformat(entry["timestamp"]))


def _path(scope: Scope, record: TaskRecord) -> tuple[str, ...]:
    run = ("api", "v2", "dags", scope.dag_id, "dagRuns", scope.run_id)
    return (*run, "taskInstances", record.task_id, "xcomEntries")


#: Marks a value that cannot be read.
_UNREADABLE: Final = object()


def _value(value: Any) -> Any:
    """Decode a value: the API returns some as JSON text, and those changed over REST in Airflow 3.1 as JSON of that."""
    for _ in range(2):
        if not isinstance(value, str) or not value.startswith(("{", "[", '"')):
            return value
        try:
            value = parse(value)
        except UnreadableError:
            return _UNREADABLE
        except ValueError:
            return value
    return value
