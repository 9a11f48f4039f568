"""How long the gallery's pages of a large run take, and what they add to the API server's memory.

``python -m benchmarks.gallery`` starts an API server on SQLite, writes a run of 1,000 mapped generations and a batch
of 10,000 into its database as if they had been run, asks for each page five times over HTTP, and prints a table. The
memory is that of the API server's process, over what it has after the calls that Airflow's own UI makes of the same
run. The rows are written as Airflow 3.3 has them.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.table import publish
from demo.local_airflow import LocalAirflow

DAG: Final = "large_gallery"
MAPPED: Final = 1000
BATCH: Final = 10_000
TIMES: Final = 5

_DAGS = Path(__file__).with_name("dags")


def main() -> None:
    """Measure all pages."""
    with _airflow() as (airflow, run_id), httpx.Client(base_url=airflow.base_url, timeout=60) as client:
        client.cookies["_token"] = client.get("/auth/token").raise_for_status().json()["access_token"]
        _ask_as_the_ui_does(client, run_id)
        before = _memory(airflow)
        run = f"/kandinsky-gallery/dags/{DAG}/runs/{run_id}"
        pages = {
            "the page that opens the others": f"/kandinsky-gallery/open/dags/{DAG}/runs/{run_id}",
            "the run": run,
            f"{MAPPED} mapped, first page": f"{run}/tasks/mapped/{{MAP_INDEX}}",
            f"{MAPPED} mapped, page 20": f"{run}/tasks/mapped/{{MAP_INDEX}}?page=20",
            f"{MAPPED} mapped, the failed": f"{run}/tasks/mapped/{{MAP_INDEX}}?only=failed",
            "one of them": f"{run}/tasks/mapped/5",
            f"a batch of {BATCH}, first page": f"{run}/tasks/batch/-1",
            f"a batch of {BATCH}, page 100": f"{run}/tasks/batch/-1?page=100",
            "an image of the batch": f"{run}/tasks/batch/-1/{BATCH - 1}/0",
        }
        publish("gallery", {name: _row(client, airflow, before, path) for name, path in pages.items()})


def _row(client: httpx.Client, airflow: LocalAirflow, before: int, path: str) -> dict[str, Any]:
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        answer = client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - started)
    return {
        "first, s": round(seconds[0], 2),
        "median, s": round(statistics.median(seconds), 2),
        "cards": answer.text.count('<li class="card'),
        "memory, MB": _memory(airflow) - before,
    }


def _ask_as_the_ui_does(client: httpx.Client, run_id: str) -> None:
    """As a browser does, several at a time: what that costs in threads is not the gallery's."""
    run = f"/api/v2/dags/{DAG}/dagRuns/{run_id}"
    paths = [
        f"/api/v2/dags/{DAG}/tasks",
        f"/ui/grid/structure/{DAG}",
        run,
        f"{run}/taskInstances?limit=50",
        f"{run}/taskInstances/mapped/xcomEntries?map_index=5",
        f"{run}/taskInstances/mapped/xcomEntries/return_value?map_index=5",
    ]
    with ThreadPoolExecutor(6) as browser:
        for answer in browser.map(client.get, paths * 10):
            answer.raise_for_status()


def _memory(airflow: LocalAirflow) -> int:
    """The resident memory of the API server, in MB."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in airflow.pids("api-server")]
    return sum(int(re.findall(r"VmRSS:\s+(\d+)", each)[0]) for each in status) // 1024


@contextmanager
def _airflow() -> Iterator[tuple[LocalAirflow, str]]:
    with tempfile.TemporaryDirectory() as folder:
        home, output = Path(folder) / "airflow", Path(folder) / "output"
        (home / "dags").mkdir(parents=True)
        output.mkdir()
        shutil.copy(_DAGS / "large_gallery.py", home / "dags")
        with LocalAirflow(home, components=["api-server"]) as airflow:
            airflow.command("dags", "reserialize")
            run_id = airflow.trigger_dag(DAG)
            filled = [sys.executable, "-m", "benchmarks.gallery", "fill", run_id, str(output)]
            subprocess.run(filled, env=airflow.env, check=True)
            yield airflow, run_id


def fill(run_id: str, output: Path) -> None:
    """Write what a run of the DAG would have left; in a process of its own, with that Airflow's environment."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import insert, select

    now = datetime.now(UTC)
    with create_session() as session:
        for instance in session.scalars(select(TaskInstance).where(TaskInstance.run_id == run_id)):
            index = instance.map_index
            state, xcoms, fields = _batch(output) if instance.task_id == "batch" else _generation(index)
            instance.state, instance.start_date, instance.end_date = state, now, now
            names = {"dag_id": DAG, "task_id": instance.task_id, "run_id": run_id, "map_index": index}
            for key, value in xcoms.items():
                XComModel.set(key=key, value=value, session=session, serialize=False, **names)
            session.execute(insert(RenderedTaskInstanceFields).values(rendered_fields=fields, **names))


def _generation(index: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    fields = {"prompt": f"prompt number {index}", "seed": index, "kandinsky_conn_id": "kandinsky_default"}
    if index % 100 == 3:
        error = {"type": "ContentBlockedError", "message": f"Blocked. [request r-{index}, billed: no]"}
        return "failed", {"request_id": f"r-{index}", "error": error}, fields
    xcoms = {"request_id": f"r-{index}", "generation": _generation_of(index), "return_value": [_url(index)]}
    return "success", xcoms, fields


def _batch(output: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    manifest = output / "manifest_1.jsonl"
    with manifest.open("w") as file:
        for index in range(BATCH):
            row = {"urls": [_url(index)], "error": None, "arguments": {"prompt": f"prompt number {index}"}}
            file.write(json.dumps(row | _generation_of(index)) + "\n")
    counts = {"items": BATCH, "succeeded": BATCH, "failed": 0, "cost": BATCH * 0.01}
    place = f"file://{output}"
    fields = {"requests": "Truncated.", "kandinsky_conn_id": "kandinsky_default", "output_path": place}
    return "success", {"counts": counts, "manifest": f"{place}/{manifest.name}"}, fields


def _generation_of(index: int) -> dict[str, Any]:
    return {
        "request_id": f"r-{index}",
        "model": "kandinsky2.1-txt2im",
        "seed": index,
        "cost": 0.01,
        "inference_time": 2.5,
        "queue_time": 0.5,
    }


def _url(index: int) -> str:
    return f"https://images.segmind.com/generations/{index}.png"


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        fill(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
