"""What Airflow knows of one task instance, as far as it has to do with images; asked of its REST API.

XCom values are the JSON that is in Airflow's database. What a custom XCom backend keeps elsewhere is for workers to
resolve, and is not read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from airflow_provider_kandinsky.gallery.api import AirflowApi, ApiError, UnreadableResponseError
from airflow_provider_kandinsky.gallery.coerce import NestedTooDeeplyError, mapping, parse, text
from airflow_provider_kandinsky.gallery.file_access import OutputFolder

#: The states that a task instance does not leave by itself.
FINISHED_STATES: Final = ("success", "failed", "skipped", "upstream_failed", "removed")
#: The states of a task instance whose latest try has failed.
FAILED_STATES: Final = ("failed", "up_for_retry")

_KEYS: Final = (
    "arguments",
    "request_id",
    "generation",
    "counts",
    "manifest",
    "source_urls",
    "error",
    "return_value",
)
#: What there is of a generation that has succeeded; each further XCom would be a call of its own.
_RESULT_KEYS: Final = ("generation", "return_value")


class TaskKind(StrEnum):
    """What a task of this package does."""

    GENERATION = "generation"
    BATCH = "batch"
    SENSOR = "sensor"

    @classmethod
    def of(cls, fields: Collection[str]) -> TaskKind | None:
        """Recognise it by the names of the task's templated fields, which subclasses of the operators have as well.

        :return: ``None`` if it is no task of this package, or none that makes images.
        """
        if "kandinsky_conn_id" not in fields:
            return None
        if "requests" in fields:
            return cls.BATCH
        if "prompt" in fields:
            return cls.GENERATION
        return cls.SENSOR if "request_id" in fields else None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which task instances are shown.

    :param task_id: only this task of the run.
    :param map_index: only this instance of it; -1 where the task is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task instance.

    :param map_index: -1 where it is not mapped.
    :param name: what Airflow's UI calls the map index, where the DAG gives it a name.
    :param state: as Airflow writes it; ``None`` before it is scheduled.
    :param xcoms: by key, those that are about images.
    :param written_at: when the last of them was written.
    :param fields: the rendered fields; empty before they are rendered, and where Airflow no longer has them.
    :param conn_id: the connection that it uses, where that is known.
    :param place: where it stores its files; ``None`` where that is not known, or nothing of them may be read.
    :param unreadable: the keys of XComs that are too long, or nested too deeply, to be read.
    :param kind: ``None`` if it is no task of ours.
    """

    task_id: str
    map_index: int
    name: str | None
    state: str | None
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    written_at: datetime | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    conn_id: str | None = None
    place: OutputFolder | None = None
    unreadable: tuple[str, ...] = ()
    kind: TaskKind | None = TaskKind.GENERATION

    @classmethod
    def of(cls, instance: Mapping[str, Any], kind: TaskKind | None, *, serves_files: bool) -> TaskRecord:
        """Read one from Airflow's answer, yet without its XComs.

        :param instance: a task instance, as the REST API has it.
        :param kind: what the DAG says of the task; if it no longer has it, its rendered fields decide.
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
        )


async def read_xcoms(api: AirflowApi, scope: Scope, record: TaskRecord) -> TaskRecord:
    """Read the XComs of a task instance.

    :param scope: the run that it is of.
    :raises ApiError: the reader may not see them.
    """
    found: dict[str, _XCom] = {}
    if record.state == "success" and record.kind is not TaskKind.BATCH and record.fields.get("prompt"):
        found = await _read(api, scope, record, _RESULT_KEYS)
    if "generation" not in found:
        path = _path(scope, record)
        listed = await api.get(*path, map_index=record.map_index, limit=100)
        keys = {text(mapping(entry).get("key")) for entry in listed["xcom_entries"]}
        found |= await _read(api, scope, record, [key for key in _KEYS if key in keys and key not in found])
    return replace(
        record,
        xcoms={key: xcom.value for key, xcom in found.items() if xcom.value is not _UNREADABLE},
        written_at=max((xcom.written_at for xcom in found.values() if xcom.written_at), default=None),
        unreadable=tuple(sorted(key for key, xcom in found.items() if xcom.value is _UNREADABLE)),
    )


@dataclass(frozen=True, slots=True)
class _XCom:
    value: Any
    written_at: datetime | None = None


async def _read(api: AirflowApi, scope: Scope, record: TaskRecord, keys: Collection[str]) -> dict[str, _XCom]:
    xcoms = await asyncio.gather(*(_read_one(api, scope, record, key) for key in keys))
    return {key: xcom for key, xcom in zip(keys, xcoms, strict=True) if xcom is not None}


async def _read_one(api: AirflowApi, scope: Scope, record: TaskRecord, key: str) -> _XCom | None:
    try:
        entry = await api.get(*_path(scope, record), key, map_index=record.map_index)
    except UnreadableResponseError:
        return _XCom(_UNREADABLE)
    except ApiError as error:
        if error.status == 404:
            return None
        # Airflow itself fails over what is nested too deeply.
        if error.status == 500:
            return _XCom(_UNREADABLE)
        raise
    return _XCom(_value(entry["value"]), datetime.fromisoformat(entry["timestamp"]))


def _path(scope: Scope, record: TaskRecord) -> tuple[str, ...]:
    run = ("api", "v2", "dags", scope.dag_id, "dagRuns", scope.run_id)
    return (*run, "taskInstances", record.task_id, "xcomEntries")


#: In the place of a value that cannot be read.
_UNREADABLE: Final = object()


def _value(value: Any) -> Any:
    """A value as it was pushed. What the server has written is JSON within the answer's, and JSON once more where
    Airflow 3.1 has changed it over REST."""
    for _ in range(2):
        if not isinstance(value, str) or not value.startswith(("{", "[", '"')):
            return value
        try:
            value = parse(value)
        except NestedTooDeeplyError:
            return _UNREADABLE
        except ValueError:
            return value
    return value
