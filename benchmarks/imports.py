"""What this package costs a DAG file: importing each public module, and parsing a hundred tasks.

``python -m benchmarks.imports`` prints two tables and writes JSON. All is done in fresh processes. Each module is
imported after what any DAG file has imported anyway; the ratio is against the import of ``airflow.sdk`` in the same
process. A file with a hundred tasks of ours is parsed as the DAG processor does it; the ratio is against a file with
a hundred tasks that do nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import publish

PACKAGE = "airflow_provider_kandinsky"
MODULES = (
    "operators.text_to_image",
    "operators.text_to_image_batch",
    "sensors.job",
    "triggers.job",
    "triggers.batch",
    "hooks.kandinsky",
    "retry_policy",
)
RUNS = 5

IMPORT = """
import json, sys, time
start = time.perf_counter()
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, dag, task
sdk = time.perf_counter() - start
start = time.perf_counter()
__import__(sys.argv[1])
print(json.dumps([sdk, time.perf_counter() - start]))
"""

PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
start = time.perf_counter()
bag = DagBag(sys.argv[1])
print(json.dumps([time.perf_counter() - start, sum(len(dag.tasks) for dag in bag.dags.values())]))
"""

TASKS = 100
DAG_FILE = """
from datetime import datetime
from airflow.sdk import dag
from {module} import {operator}

@dag(schedule=None, start_date=datetime(2026, 1, 1))
def many():
    for number in range({tasks}):
        {operator}(task_id=f"task_{{number}}"{arguments})

many()
"""
OPERATORS = {
    "EmptyOperator": ("airflow.providers.standard.operators.empty", ""),
    "KandinskyTextToImageOperator": (f"{PACKAGE}.{MODULES[0]}", ", prompt=f'cat {number}', deferrable=True"),
}


def probe(code: str, argument: str, folder: Path) -> list[list[float]]:
    """What a fresh process prints, several times.

    :param folder: an AIRFLOW_HOME, so that the user's own settings and plugins do not count.
    """
    # What is imported has been compiled, as after an installation.
    env = os.environ | {"AIRFLOW_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code, argument]
    return [json.loads(subprocess.check_output(command, env=env, text=True).splitlines()[-1]) for _ in range(RUNS)]


def measure_import(module: str, folder: Path) -> dict[str, Any]:
    """Median milliseconds of importing a module."""
    sdk, own = (statistics.median(times) * 1000 for times in zip(*probe(IMPORT, module, folder), strict=True))
    return {"ms": round(own, 1), "airflow.sdk ms": round(sdk, 1), "ratio": round(own / sdk, 4)}


def measure_parsing(operator: str, folder: Path) -> float:
    """Median milliseconds of parsing a file of many tasks, its imports included."""
    module, arguments = OPERATORS[operator]
    file = folder / f"{operator}.py"
    file.write_text(DAG_FILE.format(module=module, operator=operator, arguments=arguments, tasks=TASKS))
    runs = probe(PARSE, str(file), folder)
    assert all(tasks == TASKS for _, tasks in runs), f"{file.name} was not parsed"
    return statistics.median(seconds for seconds, _ in runs) * 1000


def main() -> None:
    """Print the tables and write them as JSON."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        publish("imports", {f"`{module}`": measure_import(f"{PACKAGE}.{module}", Path(folder)) for module in MODULES})
        parsing = {operator: measure_parsing(operator, Path(folder)) for operator in OPERATORS}
    base = next(iter(parsing.values()))
    print()
    publish(
        "parsing",
        {f"{TASKS} x {name}": {"ms": round(ms, 1), "ratio": round(ms / base, 2)} for name, ms in parsing.items()},
    )


if __name__ == "__main__":
    main()
