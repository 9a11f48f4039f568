"""What axe-core finds in our parts of Airflow's UI, in both colour schemes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, Route, expect

from airflow_provider_kandinsky.gallery import rendering
from airflow_provider_kandinsky.gallery.cards import build_cards
from airflow_provider_kandinsky.gallery.items import list_items
from airflow_provider_kandinsky.gallery.pages import Neighbours, PageNumber, Section
from airflow_provider_kandinsky.gallery.pages import Page as GalleryPage
from airflow_provider_kandinsky.gallery.task_records import Scope, TaskKind, TaskRecord
from airflow_provider_kandinsky.gallery.urls import GalleryUrls
from airflow_provider_kandinsky.links.kandinsky import RUN_GALLERY_ROUTE
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support.node_modules import installed
from .test_reviews import open_form, run_until_waiting

#: Airflow's backgrounds, that the gallery lets shine through; the tests in a real Airflow take what is there.
SCHEMES = {"light": "#fff", "dark": "#111"}
each_scheme = pytest.mark.parametrize("scheme", SCHEMES)
SERIOUS = ("serious", "critical")
STATIC = Path(rendering.__file__).with_name("static")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "https://images.segmind.com/generations/1.png"
IMAGE = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'><rect width='64' height='64' fill='teal'/></svg>"
)

#: The colour that is seen through an element.
BACKGROUND = """element => {
    const color = each => getComputedStyle(each).backgroundColor;
    while (color(element) === "rgba(0, 0, 0, 0)" && element.parentElement) element = element.parentElement;
    return color(element);
}"""

#: Finds what is wrong on a page, or within some of its elements: the rule, the element and why.
Axe = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def axe() -> Axe:
    source = installed("axe-core/axe.min.js").read_text(encoding="utf-8")

    def run(frame: Frame | Page, *include: str) -> list[tuple[str, str, str]]:
        frame.evaluate(source)
        found = frame.evaluate("include => axe.run(include.length ? {include} : document)", list(include))
        # Where it has seen nothing, it finds nothing, too.
        assert "color-contrast" in {rule["id"] for rule in found["passes"] + found["violations"]}
        return [
            (rule["id"], node["html"], node["failureSummary"])
            for rule in found["violations"]
            if rule["impact"] in SERIOUS
            for node in rule["nodes"]
        ]

    return run


def records() -> list[TaskRecord]:
    """A task instance in each state, and a batch with all that can become of an item."""

    def row(**others: Any) -> dict[str, Any]:
        return {"urls": [URL], "request_id": "r-1", "seed": 7, "cost": 0.01, "error": None} | others

    long = "The service was asked, and said much: " + "one thing, and another; " * 30
    rows = [
        row(urls=[], error={"type": "ContentBlockedError", "message": long}),
        row(urls=[], error={"type": "ContentBlockedError", "message": "No."}),
        row(urls=[], error={"type": "JobFailedError", "message": "No."}),
        row(urls=[URL, "https://elsewhere.example/1.png", URL]),
        row(error={"type": "ImageNotStoredError", "message": long}),
        *[row()] * 9,
    ]
    arguments = [{"prompt": f"a fox, number {number}"} for number in range(len(rows))]
    counts = {"items": len(rows), "succeeded": len(rows) - 4, "failed": 4, "cost": 0.1}
    batch = {"counts": counts, "arguments": arguments, "return_value": rows, "error": rows[0]["error"]}
    done = {"arguments": {"prompt": "a cat", "samples": 2}, "generation": row(queue_time=1, inference_time=2)}
    return [
        TaskRecord("postcards", -1, None, "failed", batch, NOW, kind=TaskKind.BATCH),
        TaskRecord("poster", 3, "a cat", "success", done | {"return_value": [URL, URL]}, NOW),
        TaskRecord("slow", -1, None, "deferred", {"request_id": "r-2", "arguments": {"prompt": "a snail"}}, NOW),
        TaskRecord("left_out", -1, None, "skipped", {}, NOW),
        TaskRecord("unknown", -1, None, "failed", {}, NOW),
    ]


def pages() -> dict[str, str]:
    """Every kind of page, as it is sent to a browser, by the path that it is sent for."""
    scope, found = Scope("d", "r"), {}
    for docs in (None, "https://docs.test/"):
        for only in (None, "failed"):
            urls = GalleryUrls("/gallery", scope, page=2, only=only, documentation=docs)
            sections, cards = [], []
            for record in records():
                items = list_items(record, lambda *_: None)
                shown = [item for item in items if item.has_failed or not only][:8]
                sections.append(Section(record.task_id, scope, shown, len(items), items))
                cards.append(build_cards(shown, items, NOW, lambda _: ("images.segmind.com",)))
            page = GalleryPage.of_sections(sections, PageNumber(2, 3), only_failed=bool(only), is_ours=True)
            shown_cards = list(zip(sections, cards, strict=True))
            found[f"cards, {only}, {docs}"] = rendering.render_gallery(urls, page, shown_cards)
            for card in (card for of_task in cards for card in of_task if docs and not only):
                name = f"{card.item.record.task_id} {card.item.position}"
                found[name] = rendering.render_image(urls, card, 0, Neighbours(2, 3))
    urls = GalleryUrls("/gallery", scope)
    found["empty"] = rendering.render_gallery(urls, GalleryPage([]), [])
    found["of another kind"] = rendering.render_gallery(urls, GalleryPage([], is_ours=False), [])
    found["loading"] = rendering.render_loading(urls)
    found["forbidden"] = rendering.render_message(urls, "You may not see it.", 403)
    return {name: bytes(response.body).decode() for name, response in found.items()}


@each_scheme
def test_every_page_of_the_gallery(browser: Browser, axe: Axe, scheme: str) -> None:
    by_url = {f"http://gallery.test/{number}": page for number, page in enumerate(pages().values())}

    def answer(route: Route) -> None:
        static = STATIC / route.request.url.partition("/static/")[2].partition("?")[0]
        if page := by_url.get(route.request.url):
            route.fulfill(body=page, content_type="text/html")
        elif static.is_file() and static.name != "loading.js":
            route.fulfill(path=static)
        else:
            route.fulfill(body=IMAGE, content_type="image/svg+xml")

    context = browser.new_context(color_scheme=scheme, viewport={"width": 1000, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.route("**", answer)
    found = {}
    for url in by_url:
        page.goto(url)
        page.add_style_tag(content=f"html {{ background: {SCHEMES[scheme]} }} .patience {{ visibility: visible }}")
        for summary in page.locator("summary").all():
            summary.click()
        found[url] = axe(page)
    context.close()
    assert len(found) > 15
    assert found == {url: [] for url in found}


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    """Not as new for each test: the images of the runs have to stay where they are."""
    return _sandbox


@each_scheme
@pytest.mark.airflow
@pytest.mark.xdist_group("second airflow")
def test_tab_of_a_run(page_as: Any, axe: Axe, run_id: str, scheme: str) -> None:
    page = page_as(color_scheme=scheme, bypass_csp=True)
    page.goto(f"/dags/postcards/runs/{run_id}/plugin/{RUN_GALLERY_ROUTE}")
    iframe = page.locator("iframe[title=Pictures]")
    expect(page.frame_locator("iframe[title=Pictures]").locator("img")).to_have_count(4)
    frame = iframe.element_handle().content_frame()
    # Axe takes what shines through for white.
    frame.evaluate("color => { document.documentElement.style.background = color }", iframe.evaluate(BACKGROUND))
    assert axe(frame) == []


@each_scheme
@pytest.mark.airflow
@pytest.mark.xdist_group("second airflow")
def test_review(page_as: Any, axe: Axe, airflow: LocalAirflow, sandbox: Sandbox, scheme: str) -> None:
    """Its Markdown is ours: the images and what is known of them. The form below is Airflow's."""
    page = page_as(color_scheme=scheme, bypass_csp=True)
    found = {}
    for dag_id, ours in (("review_stored", ["table"]), ("review_batch", ["table", "h3"])):
        open_form(page, dag_id, run_until_waiting(airflow, dag_id))
        found[dag_id] = axe(page, *ours)
    assert found == {dag_id: [] for dag_id in found}
