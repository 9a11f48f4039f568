"""What importing each public module costs a DAG file, on top of ``airflow.sdk``; run by ``make benchmarks``.

Each module is imported in fresh processes, after what any DAG file has imported anyway. The ratio is against the
import of ``airflow.sdk`` in the same process, so that it can be compared between machines.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

MODULES = (
    "airflow_provider_kandinsky.operators.text_to_image",
    "airflow_provider_kandinsky.operators.text_to_image_batch",
    "airflow_provider_kandinsky.sensors.job",
    "airflow_provider_kandinsky.triggers.job",
    "airflow_provider_kandinsky.triggers.batch",
    "airflow_provider_kandinsky.hooks.kandinsky",
    "airflow_provider_kandinsky.retry_policy",
)
RUNS = 5
RESULTS = Path(__file__).with_name("results")

PROBE = """
import json, sys, time
start = time.perf_counter()
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, dag, task
sdk = time.perf_counter() - start
start = time.perf_counter()
__import__(sys.argv[1])
print(json.dumps([sdk, time.perf_counter() - start]))
"""


def measure(module: str) -> dict[str, float]:
    """Median milliseconds of several fresh processes."""
    runs = [
        json.loads(subprocess.check_output([sys.executable, "-c", PROBE, module], text=True).splitlines()[-1])
        for _ in range(RUNS)
    ]
    sdk, own = (statistics.median(times) * 1000 for times in zip(*runs, strict=True))
    return {"airflow_sdk_ms": round(sdk, 1), "module_ms": round(own, 1), "ratio": round(own / sdk, 4)}


def main() -> None:
    """Print a table and write it as JSON."""
    rows = {module: measure(module) for module in MODULES}
    print(f"{'module':<55}{'ms':>8}{'airflow.sdk ms':>16}{'ratio':>8}")
    for module, row in rows.items():
        print(f"{module:<55}{row['module_ms']:>8}{row['airflow_sdk_ms']:>16}{row['ratio']:>8}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "imports.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
