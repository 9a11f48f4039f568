"""What Airflow's components and its tasks log of good runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from airflow import sdk

from airflow_provider_kandinsky.compat.airflow import triggers_can_set_xcom
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import COMPONENTS, LocalAirflow

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("second airflow"),
    pytest.mark.skipif(not triggers_can_set_xcom(), reason="this Airflow logs errors of its own"),
]

FOLDERS = (Path(__file__).parents[2] / "example_dags", Path(__file__).with_name("dags"))
#: Deferred and not, mapped, expanded over, sensors, a batch.
GOOD = ["ends_in_triggerer", "resumes_in_worker", "kandinsky_horoscopes", "kandinsky_product_pictures"]
LOOPS = ["kandinsky_repeat_until_detailed"] if hasattr(sdk, "LoopDecision") else []


def test_good_runs_leave_no_traceback_in_any_log(sandbox: Sandbox, output_folder: Path, tmp_path: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(folder, tmp_path / "dags", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    env = {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection(),
        "AIRFLOW_CONN_PRODUCTS_DB": json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "products.db")}),
        "KANDINSKY_OUTPUT_FOLDER": str(output_folder),
    }
    with LocalAirflow(tmp_path, env=env) as airflow:
        for dag_id in [*GOOD, *LOOPS]:
            run_id = airflow.trigger_dag(dag_id, {"minimum_size": 1} if dag_id in LOOPS else None)
            assert airflow.wait_for_run(dag_id, run_id, timeout=300) == "success", dag_id
        # As they are while it runs: what its end interrupts is another matter.
        logs = {path: path.read_text(errors="replace") for path in (tmp_path / "logs").rglob("*") if path.is_file()}

    assert {airflow.log_file(component) for component in COMPONENTS} <= logs.keys()
    assert all(any(f"dag_id={dag_id}/" in str(path) for path in logs) for dag_id in [*GOOD, *LOOPS])
    reported = [f"{path}: {line}" for path, text in logs.items() for line in text.splitlines() if "Traceback" in line]
    # A structured log has a traceback as a field of its own.
    reported += [
        f"{path}: {line}" for path, text in logs.items() for line in text.splitlines() if '"error_detail"' in line
    ]
    assert reported == []
