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

from .people import Reviews

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("second airflow"),
    pytest.mark.skipif(hitl_operator() is None, reason="Airflow 3.0 has no human-in-the-loop tasks"),
]

DAG = "kandinsky_editorial_calendar"
SITE = "kandinsky_editorial_site"
CALENDAR = [
    {"day": "2026-12-01", "prompt": "a lighthouse | in `snow`", "alt": 'A "lighthouse" <in> snow'},
    {"day": "2026-12-02", "prompt": "a night train", "alt": "A train"},
]


def test_from_prompts_to_the_site(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    run_id = airflow.trigger_dag(DAG, {"calendar": CALENDAR})
    # Only what is not paused hears of asset events.
    airflow.api("PATCH", f"/dags/{SITE}", json={"is_paused": False})
    reviews = Reviews(airflow, DAG, run_id)

    form = reviews.form("review_1", 0)
    assert form["subject"] == "The image of 2026-12-01"
    assert form["options"] == ["Image 1", "Image 2", "Image 3", "Image 4", "None of them"]
    assert r"a lighthouse \| in \`snow\`" in form["body"]
    reviews.answer(form, "Image 3")
    form = reviews.form("review_1", 1)
    assert len(sandbox.submissions) == 2
    reviews.answer(form, "None of them", comment="with more smoke")

    # What was rejected is painted again, and nothing else.
    form = reviews.form("review_2", 0)
    assert form["subject"] == "The image of 2026-12-02"
    assert [each["payload"]["prompt"] for each in sandbox.submissions[2:]] == ["a night train, with more smoke"]
    assert site_runs(airflow) == []
    reviews.answer(form, "Image 1")
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

    # The event starts the site, which nobody else does.
    (site_run,) = wait_for_site(airflow)
    assert site_run["run_type"] == "asset_triggered"
    assert airflow.wait_for_run(SITE, site_run["dag_run_id"]) == "success"
    events = airflow.api("GET", f"/dags/{SITE}/dagRuns/{site_run['dag_run_id']}/upstreamAssetEvents")
    (event,) = events["asset_events"]
    assert (event["source_dag_id"], event["source_run_id"]) == (DAG, run_id)
    assert event["extra"]["published"] == airflow.xcom(DAG, run_id, "publish")
    page = Path(airflow.xcom(SITE, site_run["dag_run_id"], "build").removeprefix("file://")).read_text()
    assert 'alt="A &quot;lighthouse&quot; &lt;in&gt; snow"' in page
    assert page.count("<img ") == 2


def test_what_is_rejected_each_time_is_painted_three_times_and_not_published(
    airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    run_id = airflow.trigger_dag(DAG, {"calendar": CALENDAR[:1]})
    reviews = Reviews(airflow, DAG, run_id)
    for task_id in ("review_1", "review_2", "review_3"):
        reviews.answer(reviews.form(task_id, 0), "None of them", comment=f"not by {task_id}")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    prompts = [each["payload"]["prompt"] for each in sandbox.submissions]
    first = CALENDAR[0]["prompt"]
    assert prompts == [first, f"{first}, not by review_1", f"{first}, not by review_1, not by review_2"]
    assert len({each["payload"]["seed"] for each in sandbox.submissions}) == 3
    (publish,) = (each for each in airflow.task_instances(DAG, run_id) if each["task_id"] == "publish")
    assert publish["state"] == "skipped"
    events = airflow.api("GET", "/assets/events", params={"source_dag_id": DAG, "source_run_id": run_id})
    assert events["asset_events"] == []


def test_a_clear_asks_again_and_submits_nothing(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(DAG, {"calendar": CALENDAR[:1]})
    reviews = Reviews(airflow, DAG, run_id)
    reviews.answer(reviews.form("review_1", 0), "Image 2")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    # The same images: the person may choose otherwise.
    airflow.clear(DAG, run_id, [("review_1", 0)], include_downstream=True)
    reviews.answer(reviews.form("review_1", 0), "Image 4")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    assert airflow.xcom(DAG, run_id, "review_1", map_index=0)[0]["urls"][0].endswith("-3.png")
    assert len(sandbox.submissions) == 1


def site_runs(airflow: LocalAirflow) -> list[dict[str, Any]]:
    return list(airflow.api("GET", f"/dags/{SITE}/dagRuns")["dag_runs"])


def wait_for_site(airflow: LocalAirflow, timeout: float = 180) -> list[dict[str, Any]]:
    deadline = time.monotonic() + timeout
    while not (runs := site_runs(airflow)):
        assert time.monotonic() < deadline, "the asset event has started no run"
        time.sleep(0.3)
    return runs
