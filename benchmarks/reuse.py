"""How long the second run of a large batch takes with ``reuse=True``, and what memory.

``python -m benchmarks.reuse`` prints a table and writes JSON. All images are stored and indexed before, by what stands
in for a first run. Each is a task in a process of its own, around which only Airflow is played: its task state store is
a file. The S3 is moto, in another process. The memory is the most that the process had, over that of a batch of 100.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shelve
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach

from airflow_provider_kandinsky.batch.items import read_items
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.results.file_states import concurrently
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from benchmarks.table import publish
from benchmarks.triggers import sandbox_in_another_process
from tests.support.task_instance import FakeTaskInstance, another_run, cats, paint_all

FEW: Final = 100
MANY: Final = 10_000
_IMAGE: Final = b"\x89PNG" + bytes(100)


def fill(items: int, folder: str) -> None:
    """Store images, and index them, as a first run does."""
    task, index = _task(items, folder), ReuseIndex(OutputPath(f"{folder}/{{request_id}}.png"))
    base_url = KandinskyHook().get_conn().base_url
    wanted = read_items(task.requests, {}, FakeTaskInstance().context, base_url, task.model, reuse=True)

    def store(item: Any) -> None:
        path = ObjectStoragePath(f"{folder}/{item.key[::-1][:32]}.png")
        if path.protocol == "file":
            path.parent.mkdir(parents=True, exist_ok=True)
        path.fs.pipe_file(path.path, _IMAGE)
        result = GenerationResult(path.stem, (), model=task.model, seed=item.seed, cost=0.01)
        index.note({item.key: (result, [str(path)], {})})

    concurrently(store, wanted)
    index.pack([item.key for item in wanted])


def run(items: int, folder: str) -> dict[str, float]:
    """The second run."""
    ti: Any = another_run()
    with tempfile.TemporaryDirectory() as home, shelve.open(f"{home}/store") as ti.store.values:
        began = time.perf_counter()
        ti.run(_task(items, folder))
        seconds = time.perf_counter() - began
    assert ti.pushed["counts"]["reused"] == items
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def serve() -> None:
    """An S3."""
    from moto import backends
    from moto.server import ThreadedMotoServer

    logging.disable()
    services = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services  # it lists folders for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()


def main() -> None:
    """Measure all."""
    rows: dict[str, dict[str, Any]] = {}
    with (
        sandbox_in_another_process() as sandbox,
        _s3_in_another_process() as url,
        tempfile.TemporaryDirectory() as home,
    ):
        env = os.environ | {"AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(), "S3_ENDPOINT": url}
        for name, root in {"local files": f"file://{home}", "S3": "s3://bench@reuse"}.items():
            few, many = (_in_another_process(items, f"{root}/{items}", env) for items in (FEW, MANY))
            rows[name] = {
                f"{FEW} items, s": round(few["seconds"], 1),
                f"{MANY:,} items, s": round(many["seconds"], 1),
                "memory over that, MB": round(many["peak"] - few["peak"]),
            }
    publish("reuse", rows)


def _task(items: int, folder: str) -> Any:
    return paint_all(cats(items), output_path=f"{folder}/{{request_id}}.png", reuse=True, max_xcom_items=FEW)


def _in_another_process(items: int, folder: str, env: dict[str, str]) -> dict[str, float]:
    print(f"{items} items in {folder} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.reuse"]
    subprocess.run([*command, "fill", str(items), folder], env=env, check=True, stdout=subprocess.DEVNULL)
    output = subprocess.check_output([*command, "run", str(items), folder], env=env, text=True)
    measured: dict[str, float] = json.loads(output.splitlines()[-1])
    return measured


@contextmanager
def _s3_in_another_process() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.reuse", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        _file_system(url).mkdir("reuse")
        yield url
        server.terminate()


def _file_system(url: str) -> Any:
    from s3fs import S3FileSystem

    return S3FileSystem(key="nobody", secret="none", endpoint_url=url, use_listings_cache=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve()
    elif sys.argv[1:]:
        if sys.argv[3].startswith("s3"):
            attach("s3", conn_id="bench", fs=_file_system(os.environ["S3_ENDPOINT"]))
        measured = {"fill": fill, "run": run}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
        print(json.dumps(measured))
    else:
        main()
