"""A review: what is shown to the person, who cannot be fooled by what prompts say, and what comes of the choice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, hitl_operator
from airflow_provider_kandinsky.links.kandinsky import stored_image_path
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import BadRequestError

from ..support.task_instance import FakeTaskInstance, paint, paint_all

if hitl_operator() is None:
    pytest.skip("Airflow 3.0 has no human-in-the-loop tasks", allow_module_level=True)

from airflow_provider_kandinsky.operators._review_form import NONE, escape, list_candidates, write_body
from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator

URLS = [f"https://images.segmind.com/{index}.png" for index in range(4)]


def row(index: int, *urls: str, **more: Any) -> dict[str, Any]:
    return {"urls": list(urls), "request_id": f"r{index}", "seed": index, "cost": 0.01, "error": None} | more


class FakeSupervisor:
    """Keeps the form of a task instance as Airflow does: the first one, whatever is asked later."""

    def __init__(self) -> None:
        self.form: Any = None

    def send(self, msg: Any) -> Any:
        if not hasattr(msg, "subject"):
            return None  # a secret to mask
        self.form = self.form or SimpleNamespace(**json.loads(msg.model_dump_json()))
        return self.form


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSupervisor]:
    from airflow.sdk.execution_time import task_runner

    supervisor = FakeSupervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


@pytest.fixture
def ti(sandbox: Sandbox) -> FakeTaskInstance:
    ti = FakeTaskInstance()
    ti.id = "01a21b98-12db-7879-8e53-111a720ea6e7"
    ti.task_id = "review"
    return ti


def review(images: Any, **arguments: Any) -> KandinskyReviewOperator:
    return KandinskyReviewOperator(**{"task_id": "review", "dag": DAG("gallery"), "images": images} | arguments)


def context_of(ti: FakeTaskInstance) -> Any:
    return ti.context | {"task_instance": ti}


def ask(operator: KandinskyReviewOperator, ti: FakeTaskInstance) -> None:
    """Run it until it waits."""
    with pytest.raises(BaseException) as raised:
        operator.execute(context_of(ti))
    assert type(raised.value).__name__ in ("TaskAwaitingInput", "TaskDeferred"), raised.value


def answer(operator: KandinskyReviewOperator, ti: FakeTaskInstance, *chosen: str, **fields: Any) -> Any:
    event = {
        "chosen_options": list(chosen),
        "params_input": fields,
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "ann"},
    }
    return operator.execute_complete(context_of(ti), event)


def test_it_shows_an_option_and_a_row_for_each_image(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS, details={"prompt": "a fox", "seed": 7, "cost": 0.01}, body="For *Monday*."), ti)
    form = supervisor.form
    assert form.options == ["Image 1", "Image 2", "Image 3", "Image 4"]
    assert not form.multiple
    assert form.defaults is None
    assert form.body.splitlines()[:4] == ["For *Monday*.", "", "Choose one.", ""]
    assert f"| ![Image 2](<{URLS[1]}>) | **Image 2** · a fox · seed 7 · $0.01 for 4 images |" in form.body
    assert list(form.params) == ["comment"]


@pytest.mark.parametrize(
    ("images", "chosen", "returned", "rejected"),
    [
        (URLS[:2], ["Image 2"], [URLS[1]], [URLS[0]]),
        ([URLS[:2], URLS[2:]], ["Image 3"], [URLS[2]], [URLS[0], URLS[1], URLS[3]]),
        (URLS[0], ["Image 1"], [URLS[0]], []),
        (
            [row(0, URLS[0]), row(1, error={"type": "E", "message": "m"}), row(2, *URLS[1:3])],
            ["Image 3"],
            [row(2, URLS[2])],
            [row(0, URLS[0]), row(2, URLS[1])],
        ),
    ],
    ids=["urls", "a mapped task", "one url", "rows"],
)
def test_what_was_chosen_comes_back_in_its_shape(
    ti: FakeTaskInstance, supervisor: FakeSupervisor, images: Any, chosen: Any, returned: Any, rejected: Any
) -> None:
    operator = review(images)
    ask(operator, ti)
    assert answer(review(images), ti, *chosen, comment="more sky") == returned
    assert ti.pushed["rejected"] == rejected
    assert ti.pushed["comment"] == "more sky"


def test_what_was_chosen_is_in_the_order_of_the_images(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS, maximum=None), ti)
    assert supervisor.form.multiple
    assert answer(review(URLS, maximum=None), ti, "Image 4", "Image 1") == [URLS[0], URLS[3]]


def test_a_resume_keeps_to_the_images_that_were_shown(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS), ti)
    assert answer(review(URLS[::-1]), ti, "Image 1") == [URLS[0]]


def test_without_what_was_shown_nothing_is_returned(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS), ti)
    ti.pushed.clear()
    with pytest.raises(AirflowFailException, match="XCom images"):
        answer(review(URLS), ti, "Image 1")


def test_stored_images_of_a_row_keep_their_source(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    files = ["file:///pictures/a.png", "file:///pictures/b.png"]
    images = [row(0, *files, source_urls=URLS[:2])]
    ask(review(images, output_path="file:///pictures"), ti)
    assert answer(review(images), ti, "Image 2") == [row(0, files[1], source_urls=[URLS[1]])]
    assert f"](<{stored_image_path(ti, 1)}>)" in supervisor.form.body


def test_the_helper_gives_the_gallerys_own_path(ti: FakeTaskInstance) -> None:
    from airflow_provider_kandinsky.gallery.task_records import Scope  # with FastAPI
    from airflow_provider_kandinsky.gallery.urls import GalleryUrls

    urls = GalleryUrls("/kandinsky-gallery", Scope("gallery", ti.run_id))
    page = urls.image_at("review", -1, 3, 0)
    assert stored_image_path(ti, 3).startswith(page.partition("?")[0] + "/file")


def test_the_output_path_is_that_of_the_task_before(sandbox: Sandbox) -> None:
    with DAG("gallery"):
        single = paint(dag=None, output_path="file:///a/{index}.png", samples=2)
        mapped = type(single).partial(task_id="mapped", output_path="file:///b").expand(prompt=["x"])
        batch = paint_all(["a cat"], dag=None, task_id="batch")
        assert review(single.output, dag=None).output_path == "file:///a/{index}.png"
        assert review(mapped.output, dag=None, task_id="r2").output_path == "file:///b"
        assert review(batch.output, dag=None, task_id="r3").output_path is None
        assert review(single.output, dag=None, task_id="r4", output_path="file:///c").output_path == "file:///c"


def test_none_is_an_option_and_images_go_before_it(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS, minimum=0, maximum=2, defaults="none"), ti)
    assert supervisor.form.options[-1] == NONE
    assert supervisor.form.defaults == [NONE]
    assert answer(review(URLS, minimum=0, maximum=2), ti, NONE) == []
    assert ti.pushed["rejected"] == URLS
    # It was preselected, and stayed beside what the person wants.
    assert answer(review(URLS, minimum=0, maximum=2), ti, NONE, "Image 2") == [URLS[1]]


@pytest.mark.parametrize("chosen", [["Image 1"], ["Image 1", "Image 2", "Image 3", "Image 4"]])
def test_too_few_and_too_many_are_asked_again(
    ti: FakeTaskInstance, supervisor: FakeSupervisor, chosen: list[str]
) -> None:
    operator = review(URLS, minimum=2, maximum=3)
    ask(operator, ti)
    again = review(URLS, minimum=2, maximum=3)
    with pytest.raises(BaseException) as raised:
        answer(again, ti, *chosen)
    assert type(raised.value).__name__ in ("TaskAwaitingInput", "TaskDeferred"), raised.value
    assert "Choose 2 to 3." in supervisor.form.body
    assert answer(review(URLS, minimum=2, maximum=3), ti, "Image 1", "Image 2") == URLS[:2]


def test_all_may_hold_after_the_timeout(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS, maximum=None, defaults="all", response_timeout=timedelta(minutes=1)), ti)
    assert supervisor.form.defaults == ["Image 1", "Image 2", "Image 3", "Image 4"]


def test_further_fields_of_the_form(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review(URLS, params={"alt": Param("", type="string")}), ti)
    assert list(supervisor.form.params) == ["alt", "comment"]
    answer(review(URLS, params={"alt": Param("", type="string")}), ti, "Image 1", alt="A fox", comment=None)
    assert ti.pushed["params_input"] == {"alt": "A fox"}
    assert ti.pushed["comment"] == ""


def test_a_mapped_review_has_the_parameters_of_its_dag_in_no_form(
    ti: FakeTaskInstance, supervisor: FakeSupervisor
) -> None:
    with DAG("gallery", params={"folder": "/pictures"}):
        mapped = KandinskyReviewOperator.partial(task_id="review", minimum=0).expand(images=[URLS[:2], URLS[2:]])
    operator = mapped.unmap({"images": URLS[2:]})
    ask(operator, ti)
    assert supervisor.form.options == ["Image 1", "Image 2", NONE]
    assert list(supervisor.form.params) == ["comment"]


def test_without_images_nobody_is_asked(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    assert review([row(0, error={"type": "E", "message": "m"})], minimum=0).execute(context_of(ti)) == []
    assert supervisor.form is None


def test_a_form_of_other_images_is_noticed(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    """Airflow keeps the first form when the tasks are cleared, and with it the images that were there then."""
    ask(review(URLS[:2]), ti)
    ti.clear()
    ask(review(URLS[:2]), ti)  # the same images: the person may choose again
    ti.clear()
    with pytest.raises(AirflowFailException, match="form of an earlier try"):
        review(URLS[2:]).execute(context_of(ti))


@pytest.mark.parametrize(
    ("images", "arguments", "named"),
    [
        (None, {}, "images=None"),
        (7, {}, "images=7"),
        ([7], {}, "images=7"),
        (["no url"], {}, "images='no url'"),
        ([[[URLS]]], {}, "images="),
        ([{"picture": URLS[0]}], {}, "images={'picture'"),
        ([{"urls": [None]}], {}, "images=None"),
        ([], {}, r"images='\(0 images\)'"),
        (URLS, {"minimum": 5, "maximum": 5}, r"images='\(4 images\)'"),
        ([URLS[0]] * 201, {}, r"images='\(201 images\)'"),
        (URLS, {"details": ["a fox"]}, "details="),
        (URLS, {"details": 7}, "details=7"),
        (URLS, {"maximum": 3, "defaults": "all"}, "defaults='all'"),
        (["file:///pictures/a.png"], {}, "output_path=None"),
    ],
)
def test_what_cannot_be_shown_fails_before_anything_is(
    ti: FakeTaskInstance, supervisor: FakeSupervisor, images: Any, arguments: Any, named: str
) -> None:
    with pytest.raises(AirflowFailException, match=f"^{named}"):
        review(images, **arguments).execute(context_of(ti))
    assert supervisor.form is None
    assert "images" not in ti.pushed


@pytest.mark.parametrize(
    "arguments",
    [
        {"minimum": -1},
        {"minimum": "1"},
        {"maximum": 0},
        {"minimum": 3, "maximum": 2},
        {"defaults": "some"},
        {"defaults": "none"},
    ],
)
def test_arguments_are_checked_when_the_dag_is_parsed(arguments: Any) -> None:
    with pytest.raises(BadRequestError, match="|".join(arguments)):
        review(URLS, **arguments)


def test_an_image_elsewhere_is_not_shown(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review([URLS[0], "https://tracker.example/1.png"]), ti)
    assert "tracker" not in supervisor.form.body
    assert "*not shown: it is not at a host that images may come from*" in supervisor.form.body


HOSTILE = [
    "<script>alert(1)</script>",
    "![x](https://tracker.example/x.png)",
    "[click](javascript:alert(1))",
    "a | b \\| c",
    "`code` ``` fence",
    "one\n\n| --- |\n# heading\r\x0b\u2028two",
    "&lt;img src=x&gt; &#60;",
    "<https://evil.example> www.evil.example https://evil.example a@evil.example",
    "\u202egnp.exe\u0000 \ud800",
    "x" * 1_000_000,
    "\\](javascript:alert(1))",
    "~~gone~~ **bold** [^1] $$x$$",
]


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_prompt_stays_text(prompt: str) -> None:
    body = write_body(list_candidates([URLS[0]], prompt), lambda uri, _: uri)
    assert len(body) < 2000
    *_, line = body.split("\n")
    assert body.count("\n") == 2
    # No bar, bracket, backtick or angle that is not escaped, besides those of the table and the image.
    text = line.removeprefix(f"| ![Image 1](<{URLS[0]}>) | **Image 1** · ").removesuffix(" |")
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[\]<>()!&*_~$#]", text), text
    body.encode()


@given(st.text())
def test_any_text_is_one_escaped_line(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable() or "\N{WORD JOINER}" in escaped
    # Every ASCII punctuation has a backslash before it, and none is left over.
    assert re.fullmatch(r"(?:\\[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~])*", escaped)


@given(st.text(min_size=1).filter(lambda text: re.fullmatch(r"[^\s\x00-\x1f]+", text)))
def test_no_url_leaves_its_place(text: str) -> None:
    body = write_body(list_candidates([f"https://images.segmind.com/{text}"]), lambda uri, _: uri)
    (inside,) = re.findall(r"\(<(.*)>\)", body)
    assert re.fullmatch(r"[^<>|\\\s`]+", inside)


def test_a_row_s_own_details_go_first() -> None:
    rows = [row(3, URLS[0], arguments={"prompt": "a cat", "seed": 9}), row(4, URLS[1], prompt="a dog")]
    first, second = list_candidates(rows, [("ignored", {"seed": 1}), None])
    assert (first.prompt, first.seed, first.cost) == ("a cat", 3, 0.01)
    assert (second.prompt, second.seed) == ("a dog", 4)


@pytest.mark.parametrize(
    ("images", "details", "costs"),
    [
        ([row(0, *URLS[:2]), row(1, URLS[2])], None, ["$0.01 for 2 images", "$0.01 for 2 images", "$0.01"]),
        ([URLS[:2], URLS[2:3]], [{"cost": 0.02}, {"cost": 0.01}], ["$0.02 for 2 images"] * 2 + ["$0.01"]),
        (URLS[:2], [{"cost": 0.01}, {"cost": 0.02}], ["$0.01", "$0.02"]),
        (URLS[:1], {"cost": 0.01}, ["$0.01"]),
    ],
    ids=["rows", "a mapped task", "one each", "one image"],
)
def test_the_cost_of_a_job_is_not_taken_for_that_of_each_image(images: Any, details: Any, costs: list[str]) -> None:
    body = write_body(list_candidates(images, details), lambda uri, _: uri)
    assert re.findall(r" · (\$\S+(?: for \d images)?) \|", body) == costs


def test_zipped_details_are_merged() -> None:
    (image,) = list_candidates([URLS[0]], [("a fox", {"seed": 5, "cost": 0.02, "model": "m"})])
    assert (image.prompt, image.seed, image.cost) == ("a fox", 5, 0.02)


def test_sixty_images_come_two_by_two_under_headings() -> None:
    urls = [f"https://images.segmind.com/{index}.png" for index in range(59)]
    body = write_body(list_candidates(urls), lambda uri, _: uri)
    assert body.count("### Images") == 5
    assert "### Images 49 to 59 of 59" in body
    assert all(line.count(" | ") == 1 for line in body.splitlines() if line.startswith("| ") and line != "| | |")
    assert [int(each) for each in re.findall(r"!\[Image (\d+)\]", body)] == list(range(1, 60))


def test_each_option_is_plain_and_there_once(ti: FakeTaskInstance, supervisor: FakeSupervisor) -> None:
    ask(review([URLS[0]] * 60, minimum=0, maximum=None, with_comment=False), ti)
    options = supervisor.form.options
    assert len(set(options)) == len(options) == 61
    assert all(re.fullmatch(r"[\w ]+", each) for each in options)
    assert not supervisor.form.params
