"""From XComs to cards, whoever has written them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kandinsky.gallery.cards import Card, CardState, hang
from airflow_provider_kandinsky.gallery.pages import PAGE_SIZE, Page, Totals
from airflow_provider_kandinsky.gallery.records import TaskRecord

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "https://images.segmind.com/generations/1.png"
GENERATION = {"request_id": "r-1", "model": "m", "seed": 7, "cost": 0.01, "inference_time": 2.5, "queue_time": 0.5}
COUNTS = {"items": 2, "succeeded": 1, "failed": 1, "cost": 0.01}
ERROR = {"type": "ContentBlockedError", "message": "No. [request r-1, billed: no]"}


def record(state: str | None = "success", *, age: timedelta = timedelta(), task_id: str = "paint", **xcoms: Any) -> Any:
    return TaskRecord(task_id, -1, None, state, xcoms, NOW - age)


def hung(
    *records: TaskRecord,
    hosts: Sequence[str] = ("images.segmind.com", "127.0.0.1:8765"),
    manifest: Sequence[Mapping[str, Any]] | str = "Nobody has a manifest here.",
) -> list[Card]:
    return hang(records, NOW, lambda _: hosts, lambda *_: manifest)


def row(number: int, **others: Any) -> dict[str, Any]:
    return {"urls": [URL], "request_id": f"r-{number}", "seed": number, "cost": 0.01, "error": None} | others


def test_one_picture() -> None:
    (card,) = hung(
        record(arguments={"prompt": "a cat", "seed": 7, "samples": 2}, generation=GENERATION, return_value=[URL])
    )
    assert (card.state, card.prompt, card.seed, card.cost) == (CardState.DONE, "a cat", 7, 0.01)
    assert (card.request_id, card.inference_time, card.queue_time) == ("r-1", 2.5, 0.5)
    assert card.arguments == {"samples": "2"}
    (picture,) = card.pictures
    assert (picture.address, picture.is_stored, picture.problem) == (URL, False, None)
    assert picture.origin == "https://images.segmind.com"


@pytest.mark.parametrize("state", ["running", "deferred", "queued", None])
def test_what_is_under_way_says_so(state: str | None) -> None:
    (card,) = hung(record(state, arguments={"prompt": "a cat", "seed": 7}, request_id="r-1"))
    assert (card.state, card.request_id, card.seed, card.pictures) == (CardState.UNDER_WAY, "r-1", 7, ())
    assert card.note == "Submitted; the picture is not there yet."


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_a_failed_one_has_its_error(state: str) -> None:
    (card,) = hung(record(state, arguments={"prompt": "a cat", "seed": 7}, error=ERROR))
    assert (card.state, card.failures) == (CardState.FAILED, 1)
    assert (card.error_type, card.note) == ("ContentBlockedError", ERROR["message"])


def test_a_failure_without_an_error_of_ours_refers_to_the_log() -> None:
    (card,) = hung(record("failed", arguments={"prompt": "a cat", "seed": 7}))
    assert (card.state, card.note) == (CardState.FAILED, "The task failed; its log says why.")


def test_pictures_that_were_not_stored_are_shown_from_the_service() -> None:
    (card,) = hung(record("failed", generation=GENERATION, source_urls=[URL], error=ERROR))
    assert card.state is CardState.FAILED
    assert [picture.address for picture in card.pictures] == [URL]


def test_a_sensor_takes_the_prompt_of_the_task_that_has_submitted() -> None:
    submit = record(task_id="submit", arguments={"prompt": "a cat", "seed": 7}, request_id="r-1", return_value="r-1")
    wait = record(task_id="wait", generation=GENERATION, return_value=[URL])
    submitted, waited = hung(submit, wait)
    assert (submitted.state, submitted.note) == (
        CardState.WITHOUT_PICTURE,
        "Submitted; another task waits for the picture.",
    )
    assert (waited.prompt, waited.state) == ("a cat", CardState.DONE)
    totals = Totals.of([submitted, waited])
    assert (totals.pictures, totals.cost, totals.unknown_costs) == (1, 0.01, 0)


def test_a_batch_has_a_card_for_each_item() -> None:
    arguments = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]
    cat, dog = hung(record(arguments=arguments, counts=COUNTS, return_value=[row(1), row(2, urls=[], error=ERROR)]))
    assert (cat.prompt, cat.position, cat.state, cat.request_id) == ("a cat", 0, CardState.DONE, "r-1")
    assert (dog.prompt, dog.position, dog.state, dog.error_type) == (
        "a dog",
        1,
        CardState.FAILED,
        "ContentBlockedError",
    )


def test_rows_that_are_one_purchase_cost_once() -> None:
    totals = Totals.of(hung(record(counts=COUNTS, return_value=[row(1), row(1), row(2, cost=None)])))
    assert (totals.pictures, totals.cost, totals.unknown_costs) == (3, 0.01, 1)


def test_a_batch_under_way_has_its_items() -> None:
    cards = hung(record("deferred", arguments=[{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]))
    assert [(card.prompt, card.state) for card in cards] == [
        ("a cat", CardState.UNDER_WAY),
        ("a dog", CardState.UNDER_WAY),
    ]


def test_a_large_batch_is_in_its_manifest() -> None:
    large = record(counts=COUNTS, manifest="s3://bucket/manifest.jsonl")
    rows = [row(each) | {"arguments": {"prompt": f"cat {each}", "samples": 2}} for each in (1, 2)]
    cards = hung(large, manifest=rows)
    assert [(card.request_id, card.prompt) for card in cards] == [("r-1", "cat 1"), ("r-2", "cat 2")]
    assert cards[0].arguments == {"samples": "2"}
    (card,) = hung(large, manifest="Their manifest is at s3://bucket/manifest.jsonl. It cannot be read.")
    assert (card.state, card.cost, card.failures) == (CardState.WITHOUT_PICTURE, 0.01, 1)
    assert card.note == "A batch of 2 items. Their manifest is at s3://bucket/manifest.jsonl. It cannot be read."


def test_a_failed_batch_without_rows_is_one_card() -> None:
    arguments = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]
    (card,) = hung(record("failed", arguments=arguments, counts=COUNTS, error=ERROR))
    assert (card.state, card.failures, card.cost) == (CardState.FAILED, 1, 0.01)
    assert card.note == f"A batch of 2 items. {ERROR['message']}"


def test_pictures_that_the_service_no_longer_has_are_not_asked_for() -> None:
    stored = "s3://bucket/1.png"
    for age, problems in ((timedelta(days=6.9), [None, None]), (timedelta(days=7.1), [True, None])):
        (card,) = hung(record(age=age, generation=GENERATION, return_value=[URL, stored]))
        assert [picture.problem and "7 days" in picture.problem for picture in card.pictures] == problems


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/1.png",
        "http://images.segmind.com/1.png",
        "https://images.segmind.com@elsewhere.example/1.png",
        "https://images.segmind.com\\@elsewhere.example/1.png",
        "https:images.segmind.com/1.png",
        "https://images.segmind.com.elsewhere.example/1.png",
        "HTTPS://elsewhere.example/1.png",
        "https://[/1.png",
    ],
)
def test_other_hosts_are_not_shown(url: str) -> None:
    (card,) = hung(record(generation=GENERATION, return_value=[url]))
    (picture,) = card.pictures
    assert picture.problem
    assert picture.origin is None
    assert "127.0.0.1" not in picture.problem, "the connection's hosts are nobody's business"


@pytest.mark.parametrize(
    ("url", "shown", "origin"),
    [
        ("http://127.0.0.1:8765/images/1.png", "http://127.0.0.1:8765/images/1.png", "http://127.0.0.1:8765"),
        # A browser takes a backslash for a slash, and would go elsewhere.
        ("https://elsewhere.example\\@images.segmind.com/1.png", "https://images.segmind.com/1.png", None),
        ("https://user:word@images.segmind.com/1.png#x", "https://images.segmind.com/1.png", None),
        ('https://images.segmind.com/"onload=', "https://images.segmind.com/%22onload=", None),
    ],
)
def test_a_url_is_shown_as_it_was_understood(url: str, shown: str, origin: str | None) -> None:
    (card,) = hung(record(generation=GENERATION, return_value=[url]))
    (picture,) = card.pictures
    assert (picture.address, picture.problem) == (shown, None)
    assert picture.origin == (origin or "https://images.segmind.com")


@pytest.mark.parametrize(
    "xcoms",
    [
        {"request_id": "abc", "return_value": [URL]},
        {"arguments": {"prompt": "hello", "temperature": 1}, "return_value": "an answer"},
        {"arguments": ["--verbose"], "counts": {"rows": 5}, "error": "it broke"},
        {"error": {"type": "ValueError", "message": "no"}},
        {"generation": 4, "manifest": {"a": 1}, "counts": [1]},
        {"generation": {"id": 4}},
    ],
)
def test_other_tasks_are_none_of_ours(xcoms: dict[str, Any]) -> None:
    assert hung(record(**xcoms)) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([URL, "\ud800", "file:///x"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=6,
)
shapes = {"arguments": {"prompt": "a cat"}, "generation": GENERATION, "counts": COUNTS, "error": ERROR}


@given(st.data(), st.sampled_from(["running", "success", "failed", None]))
def test_whatever_others_write_makes_no_error(data: st.DataObject, state: str | None) -> None:
    keys = ["arguments", "generation", "counts", "error", "request_id", "manifest", "source_urls", "return_value"]
    xcoms = {}
    for key in data.draw(st.sets(st.sampled_from(keys))):
        if data.draw(st.booleans()) and key in shapes:
            whole = shapes[key]
            changed = data.draw(st.dictionaries(st.sampled_from(sorted(whole)), json_values, max_size=2))
            xcoms[key] = [whole | changed] if data.draw(st.booleans()) else whole | changed
        else:
            xcoms[key] = data.draw(json_values)
    cards = hung(record(state, **xcoms))
    Totals.of(cards)
    assert all((card.prompt or "").encode() is not None for card in cards)


def test_pages() -> None:
    first = record(task_id="first", counts=COUNTS, return_value=[row(number) for number in range(PAGE_SIZE - 1)])
    second = record(task_id="second", counts=COUNTS, return_value=[row(number) for number in range(3)])
    cards = hung(first, second)
    page = Page.of(cards, 1)
    assert [(task_id, len(group)) for task_id, group in page.groups] == [("first", PAGE_SIZE - 1), ("second", 1)]
    assert (page.number, page.count) == (1, 2)
    assert [(task_id, len(group)) for task_id, group in Page.of(cards, 2).groups] == [("second", 2)]
    assert Page.of(cards, 99).number == 2
    assert Page.of(cards, -1).number == 1
    assert Page.of([], 1) == Page((), 1, 1)
