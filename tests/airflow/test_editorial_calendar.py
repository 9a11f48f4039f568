"""From prompts to an asset: a person chooses over REST, as Airflow's UI does, and what they reject is painted again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_kandinsky.compat.airflow import hitl_operator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.skipif(hitl_operator() is None, reason="Airflow 3.0 has no human-in-the-loop tasks"),
]

DAG = "kandinsky_editorial_calendar"
#: Seconds until the person answers. If a task resumes before the scheduler has seen its worker exit, the scheduler
#: takes that exit for the end of the task and retries it (apache/airflow#66374); no person is that fast.
FASTEST_PERSON = 5
CALENDAR = [
    {"day": "2026-12-01", "prompt": "a lighthouse | in `snow`", "alt": 'A "lighthouse" <in> snow'},
    {"day": "2026-12-02", "prompt": "a night train", "alt": "A train"},
]


class Reviews:
    """The forms of a run, and a person who fills them in."""

    def __init__(self, airflow: LocalAirflow, run_id: str) -> None:
        self._airflow = airflow
        self._run_id = run_id

    def form(self, task_id: str, map_index: int, timeout: float = 180) -> dict[str, Any]:
        """The form, once the task waits for a person."""
        deadline = time.monotonic() + timeout
        while True:
            found = self._airflow.api("GET", f"/dags/{DAG}/dagRuns/{self._run_id}/hitlDetails")["hitl_details"]
            for form in found:
                instance = form["task_instance"]
                waits = instance["state"] in ("awaiting_input", "deferred") and not form["response_received"]
                if waits and (instance["task_id"], instance["map_index"]) == (task_id, map_index):
                    return dict(form)
            states = [(each["task_id"], each["state"]) for each in self._airflow.task_instances(DAG, self._run_id)]
            assert time.monotonic() < deadline, states
            time.sleep(0.3)

    def answer(self, task_id: str, map_index: int, *chosen: str, comment: str = "") -> None:
        time.sleep(FASTEST_PERSON)
        path = f"/dags/{DAG}/dagRuns/{self._run_id}/taskInstances/{task_id}/{map_index}/hitlDetails"
        self._airflow.api("PATCH", path, json={"chosen_options": chosen, "params_input": {"comment": comment}})


def test_from_prompts_to_the_asset(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    run_id = airflow.trigger_dag(DAG, {"calendar": CALENDAR})
    reviews = Reviews(airflow, run_id)

    form = reviews.form("review_1", 0)
    assert form["subject"] == "The image of 2026-12-01"
    assert form["options"] == ["Image 1", "Image 2", "Image 3", "Image 4", "None of them"]
    assert r"a lighthouse \| in \`snow\`" in form["body"]
    reviews.answer("review_1", 0, "Image 3")
    reviews.form("review_1", 1)
    assert len(sandbox.submissions) == 2
    reviews.answer("review_1", 1, "None of them", comment="with more smoke")

    # What was rejected is painted again, and nothing else.
    form = reviews.form("review_2", 0)
    assert form["subject"] == "The image of 2026-12-02"
    assert [each["payload"]["prompt"] for each in sandbox.submissions[2:]] == ["a night train, with more smoke"]
    reviews.answer("review_2", 0, "Image 1")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    assert len(sandbox.submissions) == 3
    assert [each["payload"]["samples"] for each in sandbox.submissions] == [4, 4, 4]

    first, second = (
        json.loads(Path(uri.removeprefix("file://")).read_text()) for uri in airflow.xcom(DAG, run_id, "publish")
    )
    assert first["alt"] == CALENDAR[0]["alt"]
    assert second["prompt"] == "a night train, with more smoke"
    assert second["request_id"] == sandbox.submissions[2]["request_id"]
    assert second["seed"] == sandbox.submissions[2]["payload"]["seed"]
    assert second["cost"] > 0
    assert second["model"] == sandbox.submissions[2]["model"]
    folder = output_folder / "editorial" / "published"
    with Image.open(folder / first["thumbnail"]) as thumbnail, Image.open(folder / first["image"]) as image:
        assert (thumbnail.format, image.format) == ("WEBP", "WEBP")
        assert max(thumbnail.size) == 320
        assert image.size == (512, 512) or max(image.size) > 320
    chosen = airflow.xcom(DAG, run_id, "review_1", map_index=0)[0]["urls"]
    assert chosen[0].endswith("-2.png")
    rejected = airflow.xcom(DAG, run_id, "review_1", "rejected", map_index=0)
    assert [row["urls"][0][-6:] for row in rejected] == ["-0.png", "-1.png", "-3.png"]

    events = airflow.api("GET", "/assets/events", params={"source_dag_id": DAG, "source_run_id": run_id})
    (event,) = events["asset_events"]
    assert event["extra"]["published"] == airflow.xcom(DAG, run_id, "publish")
    site = airflow.api("GET", "/dags/kandinsky_editorial_site")
    assert site["timetable_summary"] == "Asset"
    # This Airflow starts no scheduled runs, so that no DAG pays on its own.
    site_run = airflow.trigger_dag("kandinsky_editorial_site")
    assert airflow.wait_for_run("kandinsky_editorial_site", site_run) == "success"
    page = Path(airflow.xcom("kandinsky_editorial_site", site_run, "build").removeprefix("file://")).read_text()
    assert 'alt="A &quot;lighthouse&quot; &lt;in&gt; snow"' in page


def test_too_many_are_asked_again_and_a_clear_asks_again(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(DAG, {"calendar": CALENDAR[:1]})
    reviews = Reviews(airflow, run_id)
    reviews.form("review_1", 0)
    reviews.answer("review_1", 0, "Image 2")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    # The same images: the person may choose otherwise.
    airflow.clear(DAG, run_id, [("review_1", 0)], include_downstream=True)
    reviews.form("review_1", 0)
    reviews.answer("review_1", 0, "Image 4")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    assert airflow.xcom(DAG, run_id, "review_1", map_index=0)[0]["urls"][0].endswith("-3.png")
    assert len(sandbox.submissions) == 1
