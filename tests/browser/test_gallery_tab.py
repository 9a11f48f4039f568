"""The gallery as a person sees it: from "Trigger" to the pictures, in the tabs of Airflow's UI."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, Route, expect

from airflow_provider_kandinsky.links.kandinsky import GALLERY_ROUTE, RUN_GALLERY_ROUTE
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support.auth_manager import WITHOUT_XCOMS
from .screenshots import picture

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("second airflow")]

LIGHTHOUSE = "a lighthouse in a storm, oil on canvas"


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Iterator[Sandbox]:
    """Not as new for each test: the pictures of the runs below have to stay where they are."""
    yield _sandbox
    _sandbox.clear_faults()
    _sandbox.configure(latency=1)


@pytest.fixture(scope="module")
def odd_run_id(airflow: LocalAirflow) -> str:
    """A finished run of ``odd_pictures``."""
    run_id = airflow.trigger_dag("odd_pictures")
    assert airflow.wait_for_run("odd_pictures", run_id) == "success"
    return run_id


def gallery(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title=Pictures]")


def of_run(page: Page, dag_id: str, run_id: str) -> FrameLocator:
    page.goto(f"/dags/{dag_id}/runs/{run_id}/plugin/{RUN_GALLERY_ROUTE}")
    return gallery(page)


def of_task(page: Page, dag_id: str, run_id: str, task_id: str) -> FrameLocator:
    page.goto(f"/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/plugin/{GALLERY_ROUTE}")
    return gallery(page)


def expect_loaded(image: Locator) -> None:
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", True)
    expect(image).not_to_have_js_property("naturalWidth", 0)


def test_from_trigger_to_the_pictures(page: Page, run_id: str) -> None:
    page.goto("/dags/postcards")
    page.get_by_role("button", name="Trigger Dag").click()
    with page.expect_response(lambda answer: answer.request.method == "POST" and "/dagRuns" in answer.url) as answer:
        page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    triggered = answer.value.json()["dag_run_id"]
    page.goto(f"/dags/postcards/runs/{triggered}")
    page.get_by_role("link", name="Pictures").click()
    frame = gallery(page)
    # The page loads again by itself, until nothing is under way.
    expect(frame.locator("img")).to_have_count(4, timeout=60_000)
    for image in frame.locator("img").all():
        expect_loaded(image)
    expect(frame.get_by_role("heading", level=2)).to_have_text(["postcards", "poster"])
    page.goto(f"/dags/postcards/runs/{triggered}/tasks/poster")
    page.get_by_role("link", name="Pictures").click()
    expect(frame.get_by_alt_text(LIGHTHOUSE)).to_have_count(2)
    expect_loaded(frame.get_by_alt_text(LIGHTHOUSE).first)


def test_the_picture_s_links_work_within_the_tab(page: Page, sandbox: Sandbox, run_id: str) -> None:
    frame = of_task(page, "postcards", run_id, "poster")
    tab = page.url
    frame.get_by_role("link", name=LIGHTHOUSE).last.click()
    expect(frame.get_by_role("heading", name=LIGHTHOUSE)).to_be_visible()
    expect(frame.get_by_text("2 of 2")).to_be_visible()
    expect_loaded(frame.locator("img"))
    frame.get_by_role("link", name="Previous").click()
    expect(frame.get_by_text("1 of 2")).to_be_visible()
    frame.get_by_role("link", name="Open the picture alone").click()
    expect(frame.locator(f"img[src^='{sandbox.url}']")).to_be_visible()
    page.evaluate("history.back()")
    frame.get_by_role("link", name="All pictures").click()
    expect(frame.get_by_role("heading", name="poster", exact=True)).to_be_visible()
    assert page.url == tab


def test_the_extra_link_leads_to_the_picture(page: Page, airflow: LocalAirflow, run_id: str) -> None:
    page.goto(f"/dags/postcards/runs/{run_id}/tasks/poster/details")
    link = page.get_by_role("link", name="Image", exact=True)
    expect(link).to_be_visible()
    page.goto(link.get_attribute("href") or "")
    expect(page).to_have_url(airflow.xcom("postcards", run_id, "poster")[0])


def test_while_deferred_the_extra_link_leads_to_the_gallery(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    # It is finished when this says so, for a busy machine may take its time to show a page.
    sandbox.fault("status", times=10_000, body={"status": "PROCESSING"})
    run_id = airflow.trigger_dag("slow_picture")
    frame = of_task(page, "slow_picture", run_id, "paint")
    expect(frame.get_by_text("Submitted; the picture is not there yet.")).to_be_visible(timeout=60_000)
    page.goto(f"/dags/slow_picture/runs/{run_id}/tasks/paint/details")
    link = page.get_by_role("link", name="Image", exact=True)
    expect(link).to_be_visible()
    page.goto(link.get_attribute("href") or "")
    expect(page).to_have_url(re.compile(f"/tasks/paint/plugin/{GALLERY_ROUTE}$"))
    expect(gallery(page).get_by_text("Submitted; the picture is not there yet.")).to_be_visible()
    sandbox.clear_faults()
    # Nobody has to reload the page.
    expect_loaded(gallery(page).get_by_alt_text("a slow snail"))


def test_who_may_not_read_the_xcoms_is_told_so(page_as, run_id: str) -> None:
    page = page_as(WITHOUT_XCOMS)
    for frame in (of_run(page, "postcards", run_id), of_task(page, "postcards", run_id, "poster")):
        expect(frame.get_by_text("You may not read the XComs of this DAG")).to_be_visible()
        expect(frame.locator("img")).to_have_count(0)


def test_a_prompt_with_markup_stays_text(page: Page, odd_run_id: str) -> None:
    prompt = '<img src=x onerror="document.title=\'hacked\'"> "a\' b"'
    frame = of_task(page, "odd_pictures", odd_run_id, "markup")
    expect(frame.get_by_text(prompt)).to_be_visible()
    expect(frame.locator("img")).to_have_count(1)
    expect(frame.locator("img")).to_have_attribute("alt", prompt)
    frame.get_by_role("link", name=prompt).click()
    expect(frame.get_by_role("heading", name=prompt)).to_be_visible()
    assert "hacked" not in [page.title(), *(each.title() for each in page.frames)]


def test_a_stored_picture_is_shown_and_can_be_downloaded(page: Page, odd_run_id: str) -> None:
    frame = of_task(page, "odd_pictures", odd_run_id, "stored")
    expect_loaded(frame.get_by_alt_text("a heron"))
    frame.get_by_role("link", name="a heron").click()
    with page.expect_download() as download:
        frame.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_loaded_gives_way_to_a_sentence(page: Page, sandbox: Sandbox, run_id: str) -> None:
    sandbox.fault("image", times=2, status=404)
    frame = of_task(page, "postcards", run_id, "poster")
    expect(frame.get_by_text("This picture cannot be loaded")).to_have_count(2)
    expect(frame.locator("img")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_theme_of_the_ui(page_as, scheme: str, run_id: str) -> None:
    page = page_as(color_scheme=scheme)
    frame = of_task(page, "postcards", run_id, "poster")
    ink = {"light": "rgb(24, 24, 27)", "dark": "rgb(244, 244, 245)"}
    other = "dark" if scheme == "light" else "light"
    expect(frame.locator("body")).to_have_css("color", ink[scheme])
    # As the UI does when a user chooses a theme; what the system likes then does not count.
    page.evaluate("theme => localStorage.setItem('theme', theme)", other)
    expect(frame.locator("body")).to_have_css("color", ink[other])
    page.reload()
    expect(frame.locator("body")).to_have_css("color", ink[other])


def test_something_is_seen_while_a_busy_server_answers(page: Page, run_id: str) -> None:
    waiting: list[Route] = []
    page.route(re.compile(rf"/{GALLERY_ROUTE}/dags/"), lambda route: waiting.append(route))
    frame = of_run(page, "postcards", run_id)
    expect(frame.get_by_text("Loading the pictures…")).to_be_visible()
    # Some seconds later it says that it is not its fault.
    expect(frame.get_by_text("Airflow is busy")).to_be_visible()
    waiting[0].continue_()
    expect(frame.get_by_role("heading", level=2)).to_have_text(["postcards", "poster"])


def test_each_sample_is_whole_and_as_large_as_any_other_picture(page: Page, run_id: str) -> None:
    frame = of_run(page, "postcards", run_id)
    expect(frame.locator("img")).to_have_count(4)
    tiles = [image.bounding_box() for image in frame.locator("img").all()]
    widths = [tile["width"] for tile in tiles if tile]
    assert max(widths) - min(widths) < 16
    for image in frame.locator("img").all():
        expect(image).to_have_css("object-fit", "contain")
    expect(frame.locator(".number")).to_have_text(["1", "2"])
    # A card is no taller than what is in it.
    heights = frame.locator(".card").evaluate_all("cards => cards.map(card => card.clientHeight - card.scrollHeight)")
    assert set(heights) == {0}


def test_failed_leads_to_the_failed_alone(page: Page, run_id: str) -> None:
    frame = of_run(page, "postcards", run_id)
    frame.get_by_role("link", name="failed", exact=True).click()
    expect(frame.locator(".card")).to_have_count(1)
    expect(frame.get_by_text("[blocked] the portrait of a famous person")).to_be_visible()
    frame.get_by_role("link", name="Show all").click()
    expect(frame.locator(".card")).to_have_count(4)


def test_it_can_be_used_with_the_keyboard(page: Page, run_id: str) -> None:
    frame = of_run(page, "postcards", run_id)
    expect_loaded(frame.locator("img").first)
    frame.get_by_role("heading", name="Pictures", exact=True).click()
    seen = []
    for _ in range(7):
        page.keyboard.press("Tab")
        focused = frame.locator("a:focus-visible")
        expect(focused).to_have_css("outline-style", "solid")
        image = focused.locator("img")
        seen.append(image.get_attribute("alt") if image.count() else focused.inner_text())
    assert seen == [
        "failed",
        "postcards",
        "[blocked] the portrait of a famous person",
        "a ferry at dawn, gouache",
        "a market full of oranges, linocut",
        LIGHTHOUSE,
        LIGHTHOUSE,
    ]
    page.keyboard.press("Enter")
    expect(frame.get_by_role("heading", name=seen[-1])).to_be_visible()
    page.keyboard.press("Tab")
    expect(frame.get_by_role("link", name="All pictures")).to_be_focused()


@pytest.mark.parametrize(("scheme", "name"), [("light", "gallery"), ("dark", "gallery-dark")])
def test_screenshots(page_as, scheme: str, name: str, run_id: str) -> None:
    page = page_as(color_scheme=scheme, viewport={"width": 1400, "height": 1180})
    frame = of_run(page, "postcards", run_id)
    # Until then it is the page that is there at once, and goes on to this one.
    expect(frame.locator("img").first).to_be_visible()
    for image in frame.locator("img").all():
        expect_loaded(image)
    frame.locator("body").evaluate("() => scrollTo(0, 0)")
    picture(page, name, shows=[page.get_by_role("link", name="Pictures"), *frame.locator("img").all()])
