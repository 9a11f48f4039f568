"""The film in the README, and an image of each example DAG's gallery; only ``make screenshots`` takes them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from playwright.sync_api import Page, expect

from airflow_provider_kandinsky.links.kandinsky import RUN_GALLERY_ROUTE
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..airflow.reviews.people import Reviews
from .screenshots import TAKEN_ON, WRITE, Film, small_picture

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("second airflow"),
    pytest.mark.skipif(os.environ.get(WRITE) != "1", reason="only make screenshots takes them"),
]

EXAMPLES = ["one_picture", "content_pipeline", "etl_enrichment", "product_pictures", "submit_then_wait", "horoscopes"]
#: These wait for a person after so many images.
REVIEWED = {"editorial_calendar": 8, "repaint_until_chosen": 4}
#: This one asks for its price first.
APPROVED = "quote_then_approve"
OF_TASK_LOOPS = ["repeat_until_detailed", "repaint_until_chosen"]


def of_run(page: Page, dag_id: str, run_id: str) -> str:
    """Open the tab of a run; returns the URL of what is in it."""
    page.goto(f"/dags/{dag_id}/runs/{run_id}/plugin/{RUN_GALLERY_ROUTE}")
    iframe = page.locator("iframe[title=Pictures]")
    expect(iframe).to_be_visible()
    return iframe.get_attribute("src") or ""


@pytest.mark.parametrize("name", [*EXAMPLES, "editorial_calendar", APPROVED, *OF_TASK_LOOPS])
def test_gallery_of_an_example(page_as: Any, airflow: LocalAirflow, name: str) -> None:
    if not airflow_version.startswith("3.4." if name in OF_TASK_LOOPS else TAKEN_ON):
        pytest.skip("another Airflow shows it")
    dag_id = f"kandinsky_{name}"
    run_id = airflow.trigger_dag(dag_id)
    if name == APPROVED:
        reviews = Reviews(airflow, dag_id, run_id)
        reviews.answer(reviews.form("approve"), "Approve")
    if name not in REVIEWED:
        assert airflow.wait_for_run(dag_id, run_id) == "success"
    page = page_as(viewport={"width": 860, "height": 600}, device_scale_factor=1)
    page.goto(of_run(page, dag_id, run_id))
    images = page.locator(".card img")
    expect(images.nth(REVIEWED.get(name, 1) - 1)).to_be_visible(timeout=180_000)
    height = page.evaluate("document.body.scrollHeight")
    page.set_viewport_size({"width": 860, "height": min(height, 600)})
    for image in images.all():
        image.evaluate("image => image.loading = 'eager'")
        expect(image).to_have_js_property("complete", True)
    small_picture(page, f"examples/{name}")


def test_film(page_as: Any, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    if not airflow_version.startswith(TAKEN_ON):
        pytest.skip("another Airflow shows it")
    sandbox.configure(latency=6)
    dag_id = "kandinsky_content_pipeline"
    page = page_as(viewport={"width": 1200, "height": 780}, device_scale_factor=1)
    film = Film(page, 900)
    page.goto(f"/dags/{dag_id}")
    trigger = page.get_by_role("button", name="Trigger Dag")
    expect(trigger).to_be_visible()
    page.wait_for_load_state("networkidle")
    film.show(1.5)
    trigger.click()
    start = page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True)
    expect(start).to_be_enabled()
    # A folder of this machine.
    page.locator("#element_output_folder").evaluate("field => { field.style.color = 'transparent' }")
    page.wait_for_timeout(1000)
    film.show(1.5)
    with page.expect_response(lambda answer: answer.request.method == "POST" and "/dagRuns" in answer.url) as answer:
        start.click()
    of_run(page, dag_id, answer.value.json()["dag_run_id"])
    images = page.frame_locator("iframe[title=Pictures]").locator(".card img")
    while images.count() < 6:
        film.show(0.5)
        page.wait_for_timeout(500)
    for image in images.all():
        expect(image).to_have_js_property("complete", True)
    film.show(2.5)
    images.nth(1).click()
    expect(page.frame_locator("iframe[title=Pictures]").get_by_role("link", name="All pictures")).to_be_visible()
    page.wait_for_timeout(500)
    film.show(2.5)
    film.save("demo")
    sandbox.configure(latency=1)
