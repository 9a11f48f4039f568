"""``make demo``: a real Airflow generates a day's images, prints how, and saves them in ``demo-output``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from demo.local_airflow import LocalAirflow
from demo.output_files import save_images
from demo.report import Run
from demo.service import NoConsentError, Service, service_for_demo

PROJECT = Path(__file__).resolve().parent.parent
OUTPUT = PROJECT / "demo-output"
DAG_ID = "kandinsky_content_pipeline"
TASK_ID = "paint"
# Passed to the run, so that the number of images that the user agrees to is the number submitted.
SUBJECTS = [
    "a lighthouse",
    "a night train",
    "a herring gull",
    "a rooftop garden",
    "a snowed-in harbour",
    "an old piano",
]


def main() -> int:
    """Run the demo and return the exit code."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    scratch = PROJECT / ".airflow"
    scratch.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="demo-", dir=scratch))
    started = time.monotonic()
    try:
        with service_for_demo(len(SUBJECTS), home) as service:
            print("Airflow: starting API server, scheduler, DAG processor and triggerer ...", flush=True)
            with LocalAirflow(home, dags_folder=PROJECT / "example_dags", env=service.env) as airflow:
                print(f"Airflow: up after {time.monotonic() - started:.0f} s at {airflow.base_url}")
                succeeded = _run_dag(airflow, service)
                if os.environ.get("KEEP") == "1":
                    _keep(airflow)
    except NoConsentError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been stopped.")
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"Ended after {time.monotonic() - started:.0f} s; everything that was started has been stopped.")
    return 0 if succeeded else 1


def _run_dag(airflow: LocalAirflow, service: Service) -> bool:
    conf = {"subjects": SUBJECTS, "output_folder": str(airflow.home / "output")}
    run = Run(airflow, DAG_ID, airflow.trigger_dag(DAG_ID, conf), TASK_ID)
    print(f"DAG {DAG_ID}, run {run.run_id}:")
    try:
        state = airflow.wait_for_run(DAG_ID, run.run_id, service.run_timeout, on_progress=run.print_progress)
    except TimeoutError as error:
        state = str(error)
    if state != "success":
        print(f"\nThe run did not succeed: {state}")
        run.print_failure()
        return False
    results = run.results()
    run.print_result(results)
    _print_cost(service, [result.generation["cost"] for result in results])
    sheet = Path(airflow.xcom(DAG_ID, run.run_id, "contact_sheet"))
    urls = [url for result in results for url in result.urls]
    print(f"\nImages and contact sheet: {save_images(urls, sheet, OUTPUT)}")
    return True


def _print_cost(service: Service, costs: list[float | None]) -> None:
    cost = f"${sum(known for known in costs if known is not None):.2f}"
    if service.sandbox is None:
        print(f"\nThe service reports a cost of {cost}.")
    else:
        print(f"\nThe sandbox accepted {len(service.sandbox.submissions)} jobs, and made up their cost: {cost}.")


def _keep(airflow: LocalAirflow) -> None:
    print(f"\nKEEP=1: Airflow's UI is at {airflow.base_url}/dags/{DAG_ID} (no login needed). Ctrl-C stops everything.")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nStopping ...")


def _exit_on_signal(number: int, frame: object) -> NoReturn:
    """Exit through the context managers, which stop what was started."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
