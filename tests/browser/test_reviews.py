"""A person chooses among images, in Airflow's UI."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow import sdk
from playwright.sync_api import Locator, Page, expect

from airflow_provider_kandinsky.links.kandinsky import GALLERY_ROUTE
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support.auth_manager import WITHOUT_XCOMS

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("second airflow")]

WAITING = ("awaiting_input", "deferred")


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    """Not as new for each test: the images have to stay where they are."""
    return _sandbox


def run_until_waiting(airflow: LocalAirflow, dag_id: str) -> str:
    run_id = airflow.trigger_dag(dag_id)
    wait_until_waiting(airflow, dag_id, run_id, "review")
    return run_id


def wait_until_waiting(
    airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str, timeout: float = 300
) -> dict[str, Any]:
    """The task instance that waits for a person."""
    deadline = time.monotonic() + timeout
    while True:
        instances = airflow.task_instances(dag_id, run_id)
        for instance in instances:
            if instance["task_id"] == task_id and instance["state"] in WAITING:
                return instance
        assert time.monotonic() < deadline, [(each["task_id"], each["state"]) for each in instances]
        time.sleep(0.3)


def states_of(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, Any]:
    return {each["task_id"]: each["state"] for each in airflow.task_instances(dag_id, run_id)}


def open_form(page: Page, dag_id: str, run_id: str, task_id: str = "review") -> None:
    page.goto(f"/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/required_actions")
    expect(page.get_by_role("img", name="Image 1", exact=True)).to_be_visible()


def expect_loaded(image: Locator) -> None:
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", True)
    expect(image).not_to_have_js_property("naturalWidth", 0)


def choose(page: Page, *options: str) -> None:
    """In the list below the images, by the keyboard alone."""
    for name in options:
        page.get_by_role("combobox").first.focus()
        page.keyboard.type(name)
        expect(page.get_by_role("option", name=name, exact=True)).to_be_visible()
        page.keyboard.press("Enter")


def expect_refused(page: Page, answer: Callable[[], None]) -> None:
    with page.expect_response(lambda response: response.request.method == "PATCH") as response:
        answer()
    assert response.value.status == 403
    # The person sees it; with which words is Airflow's.
    expect(page.get_by_role("status").first).to_be_visible()


def result(airflow: LocalAirflow, dag_id: str, run_id: str) -> Any:
    assert airflow.wait_for_run(dag_id, run_id) == "success"
    return airflow.xcom(dag_id, run_id, "review")


def test_several_of_a_mapped_task_by_keyboard(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = run_until_waiting(airflow, "review_mapped")
    open_form(page, "review_mapped", run_id)
    for number in (1, 2, 3):
        expect_loaded(page.get_by_role("img", name=f"Image {number}", exact=True))
    # The markup of the prompt is text.
    expect(page.get_by_text("![x](", exact=False)).to_be_visible()
    assert page.locator("table img").count() == 3
    assert page.locator("table a").count() == 0
    assert page.title() != "hacked"
    choose(page, "Image 3", "Image 1")
    comment = page.locator("#element_comment")
    comment.focus()
    page.keyboard.type("<b>more</b> [sky](javascript:alert(1))")
    respond = page.get_by_role("button", name="Respond")
    while not respond.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    images = [airflow.xcom("review_mapped", run_id, "paint", map_index=index)[0] for index in range(3)]
    assert result(airflow, "review_mapped", run_id) == [images[0], images[2]]
    assert airflow.xcom("review_mapped", run_id, "review", "comment") == "<b>more</b> [sky](javascript:alert(1))"
    assert page.title() != "hacked"


def test_none_of_stored_images(page: Page, airflow: LocalAirflow, screenshot: Any) -> None:
    run_id = run_until_waiting(airflow, "review_stored")
    open_form(page, "review_stored", run_id)
    images = [page.get_by_role("img", name=f"Image {number}", exact=True) for number in (1, 2, 3)]
    for image in images:
        # Sent by the gallery, to this person.
        assert re.match(rf"/{GALLERY_ROUTE}/dags/", image.get_attribute("src") or "")
        expect_loaded(image)
    buttons = [page.get_by_role("button", name=f"Image {number}", exact=True) for number in (1, 2, 3)]
    for button in buttons:
        expect(button).to_be_enabled()
    images[0].scroll_into_view_if_needed()
    screenshot("review", page.locator("main, #root").first, shows=[images[0]])
    page.get_by_role("button", name="None of them").click()
    assert result(airflow, "review_stored", run_id) == []
    assert len(airflow.xcom("review_stored", run_id, "review", "rejected")) == 3


def test_one_of_stored_images(page: Page, airflow: LocalAirflow) -> None:
    run_id = run_until_waiting(airflow, "review_stored")
    open_form(page, "review_stored", run_id)
    button = page.get_by_role("button", name="Image 2", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert result(airflow, "review_stored", run_id) == [airflow.xcom("review_stored", run_id, "paint")[1]]
    # The tab of the review still has them all.
    page.goto(f"/dags/review_stored/runs/{run_id}/tasks/review/plugin/{GALLERY_ROUTE}")
    frame = page.frame_locator("iframe[title=Pictures]")
    expect(frame.locator("img")).to_have_count(3)
    expect_loaded(frame.locator("img").last)


def test_who_may_not_see_the_images_or_answer(page_as: Any, airflow: LocalAirflow) -> None:
    run_id = run_until_waiting(airflow, "review_stored")
    page = page_as("viewer")
    open_form(page, "review_stored", run_id)
    expect_loaded(page.get_by_role("img", name="Image 1", exact=True))
    expect_refused(page, lambda: page.get_by_role("button", name="Image 1", exact=True).click())
    # Stored images are among what the XComs are about.
    page = page_as(WITHOUT_XCOMS)
    page.goto(f"/dags/review_stored/runs/{run_id}/tasks/review/required_actions")
    image = page.locator("img[alt='Image 1']")
    expect(image).to_be_attached()
    image.evaluate("image => image.loading = 'eager'")
    expect(image).to_have_js_property("complete", True)
    expect(image).to_have_js_property("naturalWidth", 0)
    assert states_of(airflow, "review_stored", run_id)["review"] in WAITING


def test_a_batch_of_sixty_and_only_who_is_assigned_may_answer(page_as: Any, airflow: LocalAirflow) -> None:
    run_id = run_until_waiting(airflow, "review_batch")
    other = page_as("colleague")
    open_form(other, "review_batch", run_id)
    choose(other, "Image 1", "Image 2")
    expect_refused(other, lambda: other.get_by_role("button", name="Respond").click())
    page = page_as("admin")
    open_form(page, "review_batch", run_id)
    images = page.locator("table img")
    expect(images).to_have_count(60)
    for index in (0, 30, 59):
        expect_loaded(images.nth(index))
    expect(page.get_by_role("heading", name="Images 49 to 60 of 60")).to_be_visible()
    # Nothing is wider than the page, and an image is large enough to be judged.
    box = images.nth(59).bounding_box()
    assert box is not None
    assert box["width"] >= 200
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    choose(page, "Image 7")
    page.get_by_role("button", name="Respond").click()
    # Two are wanted: the form comes back.
    deadline = time.monotonic() + 180
    path = f"/dags/review_batch/dagRuns/{run_id}/taskInstances/review/-1/hitlDetails"
    while (form := airflow.api("GET", path))["response_received"] or form["task_instance"]["state"] not in WAITING:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    open_form(page, "review_batch", run_id)
    choose(page, "Image 60", "Image 7")
    page.get_by_role("button", name="Respond").click()
    chosen = result(airflow, "review_batch", run_id)
    rows = airflow.xcom("review_batch", run_id, "paint")
    assert chosen == [rows[6], rows[59]]


def test_a_timeout_leaves_what_the_defaults_say(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger_dag("review_timeout")
    assert airflow.wait_for_run("review_timeout", run_id) == "failed"
    assert states_of(airflow, "review_timeout", run_id) == {"paint": "success", "review": "success", "fails": "failed"}
    assert airflow.xcom("review_timeout", run_id, "review") == airflow.xcom("review_timeout", run_id, "paint")


@pytest.mark.skipif(not hasattr(sdk, "LoopDecision"), reason="this Airflow has no task loops")
def test_each_iteration_of_a_loop_has_its_own_form(page: Page, airflow: LocalAirflow) -> None:
    dag_id = "kandinsky_repaint_until_chosen"
    run_id = airflow.trigger_dag(dag_id)
    sources = []
    for subject, chosen in (("Round 1 of 3", "None of them"), ("Round 2 of 3", "Image 2")):
        instance = wait_until_waiting(airflow, dag_id, run_id, "attempt.review")
        iteration = f"region_id={instance['region_id']}&region_index={instance['region_index']}"
        page.goto(f"/dags/{dag_id}/runs/{run_id}/tasks/attempt.review/required_actions?{iteration}")
        expect(page.get_by_text(subject).first).to_be_visible()
        for number in (1, 2, 3, 4):
            image = page.get_by_role("img", name=f"Image {number}", exact=True)
            expect_loaded(image)
            sources.append(image.get_attribute("src"))
        choose(page, chosen)
        page.get_by_role("button", name="Respond").click()
        expect(page.get_by_role("button", name="Respond")).to_be_hidden()
    assert len(set(sources)) == 8
    assert airflow.wait_for_run(dag_id, run_id) == "success"
