"""From rendered fields and XComs to cards, whoever has written them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kandinsky.compat.airflow import hitl_operator
from airflow_provider_kandinsky.gallery.cards import Card, build_cards
from airflow_provider_kandinsky.gallery.coerce import MAX_LISTED_ITEMS, parse
from airflow_provider_kandinsky.gallery.file_access import OutputFolder
from airflow_provider_kandinsky.gallery.items import Item, State, list_items
from airflow_provider_kandinsky.gallery.pages import (
    BATCH_PAGE_SIZE,
    Neighbours,
    PageNumber,
    Totals,
    failed_first,
    split_into_pages,
)
from airflow_provider_kandinsky.gallery.task_records import DagTask, TaskKind, TaskRecord
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "https://images.segmind.com/generations/1.png"
GENERATION = {"request_id": "r-1", "model": "m", "seed": 7, "cost": 0.01, "inference_time": 2.5, "queue_time": 0.5}
COUNTS = {"items": 2, "succeeded": 1, "failed": 1, "cost": 0.01}
BROKEN = "This cannot be shown. The API server's log says why."
ERROR = {"type": "ContentBlockedError", "message": "No. [request r-1, billed: no]"}


def record(state: str | None = "success", *, age: timedelta = timedelta(), task_id: str = "paint", **xcoms: Any) -> Any:
    return TaskRecord(task_id, -1, None, state, xcoms, NOW - age)


def listed(*records: TaskRecord, manifest: Sequence[Mapping[str, Any] | None] | None = None) -> list[Item]:
    return [item for record in records for item in list_items(record, lambda *_: manifest)]


def hung(
    *records: TaskRecord,
    hosts: Sequence[str] = ("images.segmind.com", "127.0.0.1:8765"),
    manifest: Sequence[Mapping[str, Any] | None] | None = None,
) -> list[Card]:
    items = listed(*records, manifest=manifest)
    return build_cards(items, items, NOW, lambda _: hosts)


def row(number: int, **others: Any) -> dict[str, Any]:
    return {"urls": [URL], "request_id": f"r-{number}", "seed": number, "cost": 0.01, "error": None} | others


def test_one_picture() -> None:
    (card,) = hung(
        record(arguments={"prompt": "a cat", "seed": 7, "samples": 2}, generation=GENERATION, return_value=[URL])
    )
    assert (card.item.state, card.prompt, card.seed, card.item.cost) == (State.DONE, "a cat", 7, 0.01)
    assert (card.item.request_id, card.inference_time, card.queue_time) == ("r-1", 2.5, 0.5)
    assert card.arguments == {"samples": "2"}
    (image,) = card.images
    assert (image.uri, image.is_stored, image.problem) == (URL, False, None)
    assert image.origin == "https://images.segmind.com"


@pytest.mark.parametrize("state", ["running", "deferred", "queued", None])
def test_what_is_under_way_says_so(state: str | None) -> None:
    (card,) = hung(record(state, arguments={"prompt": "a cat", "seed": 7}, request_id="r-1"))
    assert (card.item.state, card.item.request_id, card.seed, card.images) == (State.UNDER_WAY, "r-1", 7, ())
    assert card.note == "Submitted; the picture is not there yet."


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_a_failed_one_has_its_error(state: str) -> None:
    (card,) = hung(record(state, arguments={"prompt": "a cat", "seed": 7}, error=ERROR))
    assert card.item.state is State.FAILED
    assert (card.error_type, card.note) == ("ContentBlockedError", ERROR["message"])


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_a_failure_without_an_error_of_ours_refers_to_the_log(state: str) -> None:
    (card,) = hung(record(state, arguments={"prompt": "a cat", "seed": 7}))
    assert (card.item.state, card.note) == (State.FAILED, "The task failed; its log says why.")


def test_pictures_that_were_not_stored_are_shown_from_the_service() -> None:
    (card,) = hung(record("failed", generation=GENERATION, source_urls=[URL], error=ERROR))
    assert card.item.state is State.FAILED
    assert [image.uri for image in card.images] == [URL]


def test_a_sensor_takes_the_prompt_of_the_task_that_has_submitted() -> None:
    submit = record(task_id="submit", arguments={"prompt": "a cat", "seed": 7}, request_id="r-1", return_value="r-1")
    wait = record(task_id="wait", generation=GENERATION, return_value=[URL])
    submitted, waited = hung(submit, wait)
    assert (submitted.item.state, submitted.note) == (
        State.WITHOUT_IMAGE,
        "Submitted; another task waits for the picture.",
    )
    assert (waited.prompt, waited.item.state) == ("a cat", State.DONE)
    totals = Totals.from_items(listed(submit, wait))
    assert (totals.images, totals.cost, totals.unknown_costs) == (1, 0.01, 0)


def test_a_batch_has_a_card_for_each_item() -> None:
    arguments = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]
    cat, dog = hung(record(arguments=arguments, counts=COUNTS, return_value=[row(1), row(2, urls=[], error=ERROR)]))
    assert (cat.prompt, cat.item.position, cat.item.state, cat.item.request_id) == ("a cat", 0, State.DONE, "r-1")
    assert (dog.prompt, dog.item.position, dog.item.state, dog.error_type) == (
        "a dog",
        1,
        State.FAILED,
        "ContentBlockedError",
    )


def test_what_was_reused_says_so_and_costs_nothing() -> None:
    reused = {"reused": True, "cost": 0.0}
    single = record(arguments={"prompt": "a cat"}, generation=GENERATION | reused, return_value=[URL])
    rows = [row(2) | {"reused": False}, row(3) | reused]
    batch = record(arguments=[{"prompt": "a cat"}, {"prompt": "a dog"}], counts=COUNTS, return_value=rows)
    cards = hung(single, batch)
    assert [(card.is_reused, card.item.cost, card.item.state) for card in cards] == [
        (True, 0.0, State.DONE),
        (False, 0.01, State.DONE),
        (True, 0.0, State.DONE),
    ]
    assert Totals.from_items(listed(single, batch)).cost == 0.01


def test_rows_that_are_one_purchase_cost_once() -> None:
    totals = Totals.from_items(listed(record(counts=COUNTS, return_value=[row(1), row(1), row(2, cost=None)])))
    assert (totals.images, totals.cost, totals.unknown_costs) == (3, 0.01, 1)


def test_a_batch_under_way_has_its_items() -> None:
    cards = hung(record("deferred", arguments=[{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]))
    assert [(card.prompt, card.item.state) for card in cards] == [
        ("a cat", State.UNDER_WAY),
        ("a dog", State.UNDER_WAY),
    ]


def test_a_large_batch_is_in_its_manifest() -> None:
    large = record(counts=COUNTS, manifest="s3://bucket/manifest.jsonl")
    rows = [row(each) | {"arguments": {"prompt": f"cat {each}", "samples": 2}} for each in (1, 2)]
    cards = hung(large, manifest=rows)
    assert [(card.item.request_id, card.prompt) for card in cards] == [("r-1", "cat 1"), ("r-2", "cat 2")]
    assert cards[0].arguments == {"samples": "2"}
    (card,) = hung(large, manifest=None)
    assert (card.item.state, card.item.cost) == (State.WITHOUT_IMAGE, 0.01)
    assert card.note == "A batch of 2 items. Each of them is in the manifest s3://bucket/manifest.jsonl."
    totals = Totals.from_items(listed(large, manifest=None))
    assert (totals.cost, totals.failures, totals.unlisted) == (0.01, 1, 2)


def test_a_failed_batch_without_rows_is_one_card() -> None:
    arguments = [{"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "seed": 2}]
    (card,) = hung(record("failed", arguments=arguments, counts=COUNTS, error=ERROR))
    assert (card.item.state, card.item.cost) == (State.FAILED, 0.01)
    assert card.note == f"A batch of 2 items. {ERROR['message']}"


def test_pictures_that_the_service_no_longer_has_are_not_asked_for() -> None:
    stored = "s3://bucket/1.png"
    place = OutputFolder.from_output_path("s3://bucket")
    for age, problems in ((timedelta(days=6.9), [None, None]), (timedelta(days=7.1), [True, None])):
        (card,) = hung(replace(record(age=age, generation=GENERATION, return_value=[URL, stored]), output_folder=place))
        assert [image.problem and "7 days" in image.problem for image in card.images] == problems


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
    (image,) = card.images
    assert image.problem
    assert image.origin is None
    assert "127.0.0.1" not in image.problem, "the connection's hosts are nobody's business"


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
    (image,) = card.images
    assert (image.uri, image.problem) == (shown, None)
    assert image.origin == (origin or "https://images.segmind.com")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (KandinskyTextToImageOperator.template_fields, TaskKind.GENERATION),
        (KandinskyTextToImageBatchOperator.template_fields, TaskKind.BATCH),
        (("op_args", "op_kwargs", *KandinskyTextToImageOperator.template_fields), TaskKind.GENERATION),
        (KandinskyJobSensor.template_fields, TaskKind.SENSOR),
        (KandinskyCreditsSensor.template_fields, None),
        (("bash_command", "env"), None),
        (("prompt", "model"), None),
        ((), None),
    ],
)
def test_a_task_of_ours_is_known_by_its_templated_fields(fields: Sequence[str], kind: TaskKind | None) -> None:
    assert TaskKind.from_fields(fields) is kind


def rendered(fields: Mapping[str, Any], state: str | None = "success", **xcoms: Any) -> TaskRecord:
    return replace(record(state, **xcoms), fields={"kandinsky_conn_id": "kandinsky_default"} | fields)


def test_what_was_asked_for_is_in_the_rendered_fields() -> None:
    fields = {
        "prompt": "a cat",
        "seed": "7",
        "samples": None,
        "img_width": "512",
        "model": "m",
        "output_path": "s3://x",
    }
    (card,) = hung(rendered(fields, "failed", error=ERROR))
    assert (card.item.state, card.prompt, card.seed) == (State.FAILED, "a cat", 7)
    assert card.arguments == {"img_width": "512", "model": "m"}


def test_what_only_the_model_has_is_beside_the_arguments_and_in_the_place_of_none() -> None:
    own = {"prior_steps": 25, "prompt": "a dog", "seed": 9}
    (card,) = hung(rendered({"prompt": "a cat", "seed": 7, "model_parameters": own}))
    assert (card.prompt, card.seed, card.arguments) == ("a cat", 7, {"prior_steps": "25"})
    (card,) = hung(rendered({"prompt": "a cat", "model_parameters": "Truncated. {"}))
    assert card.arguments == {"model_parameters": "Truncated. {"}


def test_of_runs_of_before_the_arguments_are_in_xcom() -> None:
    (card,) = hung(rendered({"prompt": "{{ rendered }}"}, arguments={"prompt": "a cat", "seed": 7}))
    assert (card.prompt, card.seed) == ("a cat", 7)


def test_the_requests_of_a_batch_are_in_its_rendered_fields() -> None:
    fields = {"requests": ["a cat", {"prompt": "a dog", "seed": 2}], "scheduler": "DDIM"}
    batch = replace(rendered(fields, counts=COUNTS, return_value=[row(1), row(2)]), kind=TaskKind.BATCH)
    cards = hung(batch)
    assert [(card.prompt, card.item.row_number, card.arguments) for card in cards] == [
        ("a cat", 1, {"scheduler": "DDIM"}),
        ("a dog", 2, {"scheduler": "DDIM"}),
    ]
    # Airflow cuts what is long.
    (first, second) = hung(replace(batch, fields=fields | {"requests": "Truncated. ['a cat', "}))
    assert (first.prompt, first.item.row_number, second.item.request_id) == (None, 1, "r-2")


def test_what_failed_before_anything_was_known_of_it_has_a_card() -> None:
    (card,) = hung(record("failed"))
    assert card.item.state is State.FAILED
    assert card.note == "The task failed before it had its arguments, and has submitted nothing; its log says why."
    (batch,) = hung(replace(record("failed"), kind=TaskKind.BATCH))
    assert (batch.item.state, batch.note) == (State.FAILED, card.note)


@pytest.mark.parametrize("state", ["skipped", "upstream_failed"])
def test_what_was_not_run_has_not_failed(state: str) -> None:
    (card,) = hung(record(state))
    assert card.item.state is State.WITHOUT_IMAGE
    assert "nothing was submitted" in (card.note or "")


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
    Totals.from_items(listed(record(state, **xcoms)))
    for card in hung(record(state, **xcoms)):
        assert card.note != BROKEN, "what has another shape is left out, and only that"
        assert str(card).encode() is not None


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_too_deep_to_be_shown_breaks_no_page() -> None:
    deep = record(arguments={"prompt": "a cat", "seed": 7, "scheduler": nested(100_000)}, request_id="r-1")
    broken, whole = hung(deep, record(task_id="whole", generation=GENERATION, return_value=[URL]))
    assert (broken.prompt, broken.arguments) == ("a cat", {"scheduler": "…"})
    assert whole.item.state is State.DONE


def test_half_a_surrogate_pair_is_shown_wherever_it_is() -> None:
    half = "\ud800"
    arguments = {"prompt": half, half: half}
    (card,) = hung(
        record(arguments=arguments, generation=GENERATION | {"request_id": half}, return_value=["s3://" + half])
    )
    assert (card.prompt, card.arguments, card.item.request_id) == ("?", {"?": "?"}, "?")
    assert card.images[0].uri == "s3://?"


def test_a_card_that_cannot_be_made_breaks_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def find_image_hosts(conn_id: str | None) -> Sequence[str]:
        if conn_id == "bad":
            raise RuntimeError("nobody has thought of this")
        return ["images.segmind.com"]

    good = record(generation=GENERATION, return_value=[URL])
    items = listed(replace(good, conn_id="bad"), good)
    broken, whole = build_cards(items, items, NOW, find_image_hosts)
    assert (broken.item.state, broken.note) == (State.WITHOUT_IMAGE, BROKEN)
    assert whole.item.state is State.DONE
    assert "nobody has thought of this" in caplog.text


def test_xcoms_that_cannot_be_read_are_one_card() -> None:
    unreadable = replace(record(counts=COUNTS), unreadable=("arguments", "return_value"))
    (card,) = hung(unreadable)
    assert card.item.state is State.WITHOUT_IMAGE
    assert card.note == "This cannot be shown: XCom arguments, return_value is too long, or nested too deeply."


def test_of_a_text_no_more_is_shown_than_a_page_can_bear() -> None:
    (card,) = hung(record(arguments={"prompt": "x" * 100_000, "negative_prompt": "y" * 100_000}))
    assert (len(card.prompt or ""), len(card.arguments["negative_prompt"])) == (10_000, 10_000)


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_json_that_is_nested_too_deeply_is_a_value_error(depth: int) -> None:
    with pytest.raises(ValueError):
        parse("[" * depth + "]" * depth)


def test_rows_of_a_manifest_that_cannot_be_read_keep_their_place() -> None:
    large = record(counts=COUNTS, manifest="s3://bucket/manifest.jsonl")
    broken, whole = hung(large, manifest=[None, row(2)])
    assert (broken.item.state, broken.note) == (State.WITHOUT_IMAGE, "This row of the manifest cannot be read.")
    assert (whole.item.position, whole.item.request_id) == (1, "r-2")


def test_of_a_very_large_batch_the_first_items_are_listed_and_all_are_counted() -> None:
    items, cost = MAX_LISTED_ITEMS + 500, 0.01 * (MAX_LISTED_ITEMS + 500)
    counts = {"items": items, "succeeded": items - 7, "failed": 7, "cost": cost}
    failed = [row(each, urls=[], cost=None, error=ERROR) for each in range(3)]
    rows = failed + [row(each) for each in range(3, MAX_LISTED_ITEMS)]
    large = record(counts=counts, manifest="s3://bucket/manifest.jsonl")
    all_items = listed(large, manifest=rows)
    # One for the rest.
    assert len(all_items) == MAX_LISTED_ITEMS + 1
    totals = Totals.from_items(all_items)
    assert (totals.generations, totals.unlisted) == (items, 500)
    assert totals.images == MAX_LISTED_ITEMS - 3
    assert totals.failures == 7
    assert totals.cost == pytest.approx(cost)
    (rest,) = build_cards(all_items[-1:], all_items, NOW, lambda _: ())
    assert rest.note == (
        "And 500 more items of this batch, which are not listed. Each of them is in the manifest "
        "s3://bucket/manifest.jsonl."
    )


def test_what_has_failed_comes_first_and_can_be_had_alone() -> None:
    rows = [row(1), row(2, urls=[], error=ERROR), row(3), row(4, urls=[], error=ERROR)]
    items = listed(record(counts=COUNTS | {"items": 4}, return_value=rows))
    assert [item.position for item in failed_first(items)] == [1, 3, 0, 2]
    assert [item.position for item in failed_first(items, only_failed=True)] == [1, 3]


def test_pages() -> None:
    items = listed(record(counts=COUNTS, return_value=[row(number) for number in range(BATCH_PAGE_SIZE + 2)]))

    def on_page(number: int) -> list[int]:
        page = PageNumber.nearest(number, len(items), BATCH_PAGE_SIZE)
        return [item.position for item in page.cut(items, BATCH_PAGE_SIZE)]

    assert on_page(1) == on_page(-1) == list(range(BATCH_PAGE_SIZE))
    assert on_page(2) == on_page(99) == [BATCH_PAGE_SIZE, BATCH_PAGE_SIZE + 1]
    assert PageNumber.nearest(99, len(items), BATCH_PAGE_SIZE) == PageNumber(2, 2)
    assert PageNumber.nearest(1, 0, BATCH_PAGE_SIZE) == PageNumber(1, 1)


def test_the_tasks_of_a_run_are_on_as_many_pages_as_their_cards_need() -> None:
    single = [DagTask(f"single-{number}", TaskKind.GENERATION) for number in range(45)]
    mapped = [DagTask(f"mapped-{number}", TaskKind.GENERATION, is_mapped=True) for number in range(3)]
    assert [len(page) for page in split_into_pages(single)] == [40, 5]
    assert [len(page) for page in split_into_pages([*single[:20], *mapped])] == [22, 1]
    assert split_into_pages([]) == [[]]


def test_the_neighbours_of_a_picture() -> None:
    items = listed(record(counts=COUNTS, return_value=[row(1, urls=[URL, URL]), row(2, urls=[], error=ERROR), row(3)]))
    first = Neighbours.find(items[0], 0, items, 1)
    assert (first.number, first.count, first.previous, first.next) == (1, 3, None, ("paint", -1, 0, 1, None))
    # What has no image is passed over, but when it is what is shown.
    assert Neighbours.find(items[2], 0, items, 1).previous == ("paint", -1, 0, 1, None)
    assert Neighbours.find(items[1], 0, items, 1).next == ("paint", -1, 2, 0, None)
    (mapped,) = listed(replace(record(generation=GENERATION, return_value=[URL]), map_index=1))
    assert Neighbours.find(mapped, 0, [mapped], 3) == Neighbours(
        1, 1, ("paint", 0, 0, 0, None), ("paint", 2, 0, 0, None)
    )
    assert Neighbours.find(mapped, 0, [mapped], 2).next is None


def test_only_the_cards_of_a_page_are_made() -> None:
    items = listed(record(counts=COUNTS, return_value=[row(number) for number in range(1000)]))
    asked: list[str | None] = []
    page = PageNumber.nearest(3, 1000, BATCH_PAGE_SIZE).cut(items, BATCH_PAGE_SIZE)
    build_cards(page, items, NOW, lambda conn_id: asked.append(conn_id) or ())
    assert len(asked) == BATCH_PAGE_SIZE


def test_a_review_shows_what_was_to_be_chosen_from() -> None:
    stored = row(2, urls=["file:///pictures/b.png"], prompt="a dog")
    images = [URL, stored, {"urls": "no list"}, None, 7]
    record = TaskRecord(
        "review",
        -1,
        None,
        "awaiting_input",
        {"images": images},
        NOW,
        output_folder=OutputFolder("file:///pictures", ""),
        kind=TaskKind.REVIEW,
    )
    cards = hung(record)
    assert [len(card.images) for card in cards] == [1, 1, 0, 0, 0]
    assert [card.item.position for card in cards] == [0, 1, 2, 3, 4]
    assert [image.is_stored for card in cards for image in card.images] == [False, True]
    assert [image.problem for card in cards for image in card.images] == [None, None]
    assert cards[1].prompt == "a dog"


@pytest.mark.parametrize("images", [None, "a text", {"a": 1}, [], 7])
def test_a_review_of_nonsense_shows_nothing(images: Any) -> None:
    assert hung(TaskRecord("review", -1, None, "running", {"images": images}, NOW, kind=TaskKind.REVIEW)) == []


@pytest.mark.skipif(hitl_operator() is None, reason="Airflow 3.0 has no human-in-the-loop tasks")
def test_a_review_is_known_by_its_fields() -> None:
    from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator

    assert TaskKind.from_fields(KandinskyReviewOperator.template_fields) is TaskKind.REVIEW
