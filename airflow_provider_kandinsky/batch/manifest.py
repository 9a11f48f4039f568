"""The manifest of a batch: a file with a line for each item, beside the images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Final

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.loops import loop_index
from airflow_provider_kandinsky.results.file_names import file_name
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.storage import write

#: Up to this size in bytes, the manifest is buffered in memory.
_MAX_IN_MEMORY: Final = 2**20


def write_manifest(context: Context, output_path: OutputPath, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the manifest of the running task.

    :param rows: JSON values, in the order of the items.
    :return: its URI.
    """
    ti = context["ti"]
    names: list[Any] = [ti.dag_id, ti.run_id, ti.task_id]
    if ti.map_index not in (None, -1):
        names.append(ti.map_index)
    if (index := loop_index(context)) is not None:
        names.append(f"iteration_{index}")
    path = output_path.folder / f"manifest_{file_name('_'.join(map(str, names)))}.jsonl"
    with tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY) as manifest:
        manifest.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        manifest.seek(0)
        write(manifest, path)
    return str(path)
