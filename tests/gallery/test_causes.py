"""Failures are summed up by their causes, each with the way to its cards."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_kandinsky import exceptions
from airflow_provider_kandinsky.gallery.cards import build_cards
from airflow_provider_kandinsky.gallery.causes import sum_up_failures
from airflow_provider_kandinsky.gallery.items import Item, list_items
from airflow_provider_kandinsky.gallery.pages import Neighbours, Page, PageNumber, Section
from airflow_provider_kandinsky.gallery.regions import Region
from airflow_provider_kandinsky.gallery.rendering import render_gallery, render_image
from airflow_provider_kandinsky.gallery.task_records import Scope, TaskKind, TaskRecord
from airflow_provider_kandinsky.gallery.urls import GalleryUrls

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "https://images.segmind.com/generations/1.png"
DOCS = "https://docs.test/kandinsky/"
COUNTS = {"items": 3, "succeeded": 1, "failed": 2, "cost": 0.01}


def error(error_type: Any) -> dict[str, Any]:
    return {"type": error_type, "message": "No. [billed: no]"}


def failed(map_index: int, error_type: Any = None, *, task_id: str = "paint") -> TaskRecord:
    xcoms = {"error": error(error_type)} if error_type else {}
    return TaskRecord(task_id, map_index, None, "failed", xcoms, NOW)


def batch(*rows: Mapping[str, Any], state: str = "failed", **xcoms: Any) -> TaskRecord:
    xcoms = {"counts": COUNTS, "error": error("BatchItemsFailedError")} | xcoms
    return TaskRecord("batch", -1, None, state, xcoms | {"return_value": list(rows)}, NOW, kind=TaskKind.BATCH)


def row(error_type: str | None) -> dict[str, Any]:
    urls = [] if error_type else [URL]
    return {"urls": urls, "request_id": "r-1", "seed": 1, "cost": 0.01, "error": error_type and error(error_type)}


def listed(*records: TaskRecord) -> list[Item]:
    return [item for record in records for item in list_items(record, lambda *_: None)]


def counted(items: Sequence[Item], failures: int | None = None) -> dict[str | None, int]:
    of_items = sum(max(item.failures, 1) for item in items if item.has_failed)
    causes = sum_up_failures(items, of_items if failures is None else failures)
    return {cause.error_type: cause.count for cause in causes}


def test_the_most_frequent_cause_comes_first_and_the_unknown_last() -> None:
    items = listed(
        failed(0),
        failed(1, "JobTimeoutError"),
        failed(2, "ContentBlockedError"),
        failed(3, "ContentBlockedError"),
        failed(4),
        failed(5),
    )
    assert list(counted(items).items()) == [("ContentBlockedError", 2), ("JobTimeoutError", 1), (None, 3)]


def test_the_items_of_a_batch_are_counted_and_not_their_sum() -> None:
    items = listed(batch(row(None), row("JobFailedError"), row("ContentBlockedError")))
    assert counted(items) == {"ContentBlockedError": 1, "JobFailedError": 1}


def test_a_batch_whose_rows_are_nowhere_is_counted_as_its_task_says() -> None:
    items = listed(batch(return_value=None))
    assert counted(items) == {"BatchItemsFailedError": 2}


def test_what_was_not_read_is_of_unknown_cause() -> None:
    items = listed(failed(0, "ContentBlockedError"))
    assert counted(items, failures=40) == {"ContentBlockedError": 1, None: 39}


def test_what_did_not_fail_has_no_cause() -> None:
    done = TaskRecord("paint", -1, None, "success", {"return_value": [URL]}, NOW)
    assert sum_up_failures(listed(done), 0) == []


def test_of_causes_that_somebody_has_made_up_few_are_named() -> None:
    items = listed(*(failed(number, f"Error{number:03}") for number in range(100)))
    causes = sum_up_failures(items, 100)
    assert len(causes) == 13
    assert (causes[-1].error_type, causes[-1].count) == (None, 88)
    assert sum(cause.count for cause in causes) == 100


@pytest.mark.parametrize("made_up", [7, ["JobFailedError"], {"a": 1}, None, "", "x" * 100_000, "\ud800"])
def test_a_type_that_is_none_breaks_nothing(made_up: Any) -> None:
    record = TaskRecord("paint", -1, None, "failed", {"error": {"type": made_up, "message": 3}}, NOW)
    (cause,) = sum_up_failures(listed(record), 1)
    assert cause.count == 1
    assert str(cause.error_type).encode() is not None


def page_of(*records: TaskRecord, documentation: str | None = DOCS, only: Any = None) -> str:
    items = listed(*records)
    scope = Scope("d", "r")
    whole = [Section("paint", scope, items, len(items), items)]
    page = Page.of_sections(whole, PageNumber(), only_failed=only is not None, is_ours=True)
    cards = build_cards(items, items, NOW, lambda _: ())
    urls = GalleryUrls("/gallery", scope, only=only, documentation=documentation)
    sections = [(section, cards) for section in page.sections]
    return bytes(render_gallery(urls, page, sections).body).decode()


def causes_on(page: str) -> list[str]:
    return [
        html.unescape(" ".join(re.sub(r"<[^>]*>", " ", summary).split()))
        for summary in re.findall(r"<summary>(.*?)</summary>", page)
    ]


def test_each_cause_leads_to_its_cards_and_to_the_docs() -> None:
    page = page_of(failed(0, "ContentBlockedError"), failed(1, "ContentBlockedError"), failed(2, "JobTimeoutError"))
    assert causes_on(page) == ["2 ContentBlockedError", "1 JobTimeoutError"]
    (first, second) = re.findall(r"<details>(.*?)</details>", page, re.DOTALL)
    assert re.findall(r'href="([^"]*)"', first) == [
        f"{DOCS}errors.html#contentblockederror",
        "/gallery/dags/d/runs/r/tasks/paint/0/0/0?within=run",
        "/gallery/dags/d/runs/r/tasks/paint/1/0/0?within=run",
    ]
    assert ">paint [2]</a>" in second


def test_an_item_of_a_batch_is_named_by_its_row() -> None:
    page = page_of(batch(row(None), row("JobFailedError"), row("JobFailedError")))
    assert causes_on(page) == ["2 JobFailedError"]
    assert re.findall(r">(batch, row \d)</a>", page) == ["batch, row 2", "batch, row 3"]


def test_an_iteration_of_a_loop_is_linked_with_its_region() -> None:
    """Without it Airflow's API refuses to guess which iteration is meant."""
    region = Region("01a21c7e-64b2-7b77-a5d4-5c9be0f074f7", 1, iteration=1)
    regions = [replace(region, index=index, iteration=index) for index in (0, 1)]
    page = page_of(*(replace(failed(-1, "JobFailedError"), region=each) for each in regions))
    (links,) = re.findall(r"<details>(.*?)</details>", page, re.DOTALL)
    for each in regions:
        assert re.search(rf'\?region={each}&amp;within=run">paint, iteration {each.index}</a>', links)


def test_a_single_failure_needs_no_sum() -> None:
    assert causes_on(page_of(failed(0, "ContentBlockedError"))) == []


def test_what_has_more_cards_than_are_linked_leads_to_the_failed() -> None:
    page = page_of(*(failed(number, "JobFailedError") for number in range(60)))
    assert causes_on(page) == ["60 JobFailedError"]
    assert re.search(r'10 more: <a href="/gallery/dags/d/runs/r\?only=failed">', page)
    again = page_of(*(failed(number, "JobFailedError") for number in range(60)), only="failed")
    assert "10 more: on the pages of their tasks" in again


@pytest.mark.parametrize("name", sorted(set(exceptions.__all__) - {"Billing"}))
def test_a_card_leads_to_the_section_of_its_error(name: str) -> None:
    page = page_of(failed(0, name))
    assert (
        f'<strong><a href="{DOCS}errors.html#{name.lower()}" title="What it means, and what to do">{name}</a>' in page
    )
    assert "in the docs" not in page


def test_without_an_address_of_the_docs_the_page_is_named() -> None:
    page = page_of(failed(0, "JobFailedError"), failed(1, "JobFailedError"), documentation=None)
    assert "<strong>JobFailedError</strong>" in page
    assert "What to do: page “Errors” in the docs." in page
    assert "errors.html" not in page


@pytest.mark.parametrize("made_up", ['"><script>alert(1)</script>', "RuntimeError", "Billing"])
def test_a_type_that_the_docs_do_not_know_leads_nowhere(made_up: str) -> None:
    page = page_of(failed(0, made_up), failed(1, made_up))
    assert "docs.test" not in page
    assert "in the docs" not in page
    assert "<script>alert" not in page


def test_the_page_of_one_that_failed_leads_there_too() -> None:
    items = listed(failed(0, "JobTimeoutError"))
    (card,) = build_cards(items, items, NOW, lambda _: ())
    urls = GalleryUrls("/gallery", Scope("d", "r"), documentation=DOCS)
    page = bytes(render_image(urls, card, 0, Neighbours.find(items[0], 0, items, 1)).body).decode()
    assert f'href="{DOCS}errors.html#jobtimeouterror"' in page
