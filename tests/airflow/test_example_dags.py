"""The example DAGs do in a real Airflow what they say, and buy each picture once."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
import pytest

from airflow_provider_kandinsky.compat.airflow import hitl_operator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from .reviews.people import FASTEST_PERSON

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]


def run_dag(airflow: LocalAirflow, dag_id: str, conf: dict[str, object] | None = None) -> str:
    run_id = airflow.trigger_dag(dag_id, conf)
    state = airflow.wait_for_run(dag_id, run_id)
    states = [
        (i["task_id"], i["map_index"], i["state"], i["try_number"]) for i in airflow.task_instances(dag_id, run_id)
    ]
    assert state == "success", states
    return run_id


def assert_picture(url: str) -> None:
    response = httpx.get(url, trust_env=False)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"


def test_one_picture(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    dag_id = "kandinsky_one_picture"
    run_id = run_dag(airflow, dag_id)

    [url] = airflow.xcom(dag_id, run_id, "paint")
    assert_picture(url)
    [submission] = sandbox.submissions
    assert airflow.xcom(dag_id, run_id, "paint", "request_id") == submission["request_id"]
    generation = airflow.xcom(dag_id, run_id, "paint", "generation")
    assert generation["model"] == submission["model"]
    assert generation["seed"] == submission["payload"]["seed"]
    assert generation["cost"] == pytest.approx(0.01)
    assert url in airflow.task_log(dag_id, run_id, "show")


def test_content_pipeline(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    dag_id = "kandinsky_content_pipeline"
    subjects = ["a lighthouse", 'a "night train" <with> & without', "a herring gull"]
    run_id = run_dag(airflow, dag_id, {"subjects": subjects})

    pictures = [airflow.xcom(dag_id, run_id, "paint", map_index=index) for index in range(len(subjects))]
    assert [len(urls) for urls in pictures] == [1, 1, 1]
    prompts = {s["request_id"]: s["payload"]["prompt"] for s in sandbox.submissions}
    assert len(prompts) == len(subjects)
    for index, subject in enumerate(subjects):
        request_id = airflow.xcom(dag_id, run_id, "paint", "request_id", index)
        assert prompts[request_id].startswith(subject)
        assert request_id in pictures[index][0]
    sheet = Path(airflow.xcom(dag_id, run_id, "contact_sheet"))
    assert sheet.parent == output_folder
    page = sheet.read_text(encoding="utf-8")
    assert all(urls[0] in unescape(page) for urls in pictures)
    assert "&quot;night train&quot; &lt;with&gt; &amp; without" in page
    assert "<with>" not in page


def test_submit_then_wait(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    dag_id = "kandinsky_submit_then_wait"
    run_id = run_dag(airflow, dag_id)

    [submission] = sandbox.submissions
    assert airflow.xcom(dag_id, run_id, "submit") == submission["request_id"]
    [url] = airflow.xcom(dag_id, run_id, "wait")
    assert_picture(url)
    assert airflow.xcom(dag_id, run_id, "publish") == {
        "caption": f"The morning fox (job {submission['request_id']})",
        "image": url,
    }


def test_etl_enrichment_keeps_the_order_of_the_rows(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    dag_id = "kandinsky_etl_enrichment"
    run_id = run_dag(airflow, dag_id)

    products = airflow.xcom(dag_id, run_id, "extract")
    enriched = airflow.xcom(dag_id, run_id, "load")
    assert [{k: v for k, v in row.items() if k != "image"} for row in enriched] == products
    assert len(sandbox.submissions) == len(products)
    job_of_product = {s["payload"]["seed"]: s["request_id"] for s in sandbox.submissions}
    for row in enriched:
        assert job_of_product[row["sku"]] in row["image"]
        assert_picture(row["image"])


def test_product_pictures(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    run_dag(airflow, "kandinsky_product_pictures")

    painted = {job["payload"]["seed"]: job["request_id"] for job in sandbox.submissions}
    with sqlite3.connect(output_folder / "products.db") as database:
        pictures = dict(database.execute("SELECT sku, picture FROM products"))
    assert set(pictures) == set(painted) == {4711, 815, 1337}
    for sku, uri in pictures.items():
        assert uri == f"file://{output_folder}/products/{painted[sku]}-0.png"
        assert Path(uri.removeprefix("file://")).read_bytes().startswith(b"\x89PNG")

    # What has a picture is not asked for again.
    run_dag(airflow, "kandinsky_product_pictures")
    assert len(sandbox.submissions) == 3


def test_horoscopes(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    sandbox.configure(credits=2, free_credits=0.5)
    dag_id = "kandinsky_horoscopes"
    run_id = run_dag(airflow, dag_id)

    assert airflow.xcom(dag_id, run_id, "credits_left") == 2.5
    submitted = {job["request_id"]: job["payload"] for job in sandbox.submissions}
    assert len(submitted) == 3
    for index, (sign, steps) in enumerate([("Leo", 30), ("Virgo", 20), ("Pisces", 20)]):
        payload = submitted[airflow.xcom(dag_id, run_id, "paint", "request_id", map_index=index)]
        assert payload["prompt"].startswith(f"{sign} as a constellation")
        assert payload["num_inference_steps"] == steps
        assert payload["negative_prompt"] == "text, letters"
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/paint/{index}"
        rendered = airflow.api("GET", path)["rendered_fields"]
        assert payload == {name: rendered[name] for name in payload}
        [url] = airflow.xcom(dag_id, run_id, "paint", map_index=index)
        assert_picture(url)


def test_spend_report(airflow: LocalAirflow, sandbox: Sandbox, output_folder: Path) -> None:
    run_dag(airflow, "kandinsky_one_picture")
    for _ in range(2):  # a day that is loaded again is not there twice
        run_dag(airflow, "kandinsky_spend_report", {"day": datetime.now(UTC).date().isoformat()})
    with sqlite3.connect(output_folder / "products.db") as database:
        rows = database.execute("SELECT * FROM kandinsky_spend").fetchall()
    assert [row[1:] for row in rows] == [("kandinsky2.1-txt2im", pytest.approx(0.01), 1, 0)]


@pytest.mark.skipif(hitl_operator() is None, reason="Airflow 3.0 has no human-in-the-loop tasks")
def test_quote_then_approve(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    dag_id = "kandinsky_quote_then_approve"

    def run(choice: str) -> tuple[str, str]:
        """A run in which a person has chosen, and what it has asked them."""
        run_id = airflow.trigger_dag(dag_id)
        deadline = time.monotonic() + 90
        while not (forms := airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/hitlDetails")["hitl_details"]):
            assert time.monotonic() < deadline, airflow.task_instances(dag_id, run_id)
            time.sleep(0.3)
        time.sleep(FASTEST_PERSON)
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        airflow.api("PATCH", path, json={"chosen_options": [choice], "params_input": {}})
        assert airflow.wait_for_run(dag_id, run_id, timeout=180) == "success"
        return run_id, forms[0]["body"]

    _, body = run("Reject")
    assert body == "2 items, 0 reused, 2 to submit, price unknown, total: unknown"
    assert not sandbox.submissions
    run_id, _ = run("Approve")
    assert len(sandbox.submissions) == 2
    assert [row["key"] for row in airflow.xcom(dag_id, run_id, "paint")] == ["4711", "815"]
    run_id, body = run("Approve")
    assert body == "2 items, 2 reused, 0 to submit, price unknown, total: $0"
    assert all(row["reused"] for row in airflow.xcom(dag_id, run_id, "paint"))
    assert len(sandbox.submissions) == 2
