"""The gallery in a real Airflow's API server, asked over HTTP."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..support import secrets_backend as denying_backend
from ..support.running_jobs import keep_running
from .visitor import Visitor, visitor

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

DAG = "every_kind"


def sources(page: str) -> list[str]:
    return [html.unescape(source) for source in re.findall(r'<img src="([^"]*)"', page)]


def links(page: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'<a [^>]*?href="([^"]*)"', page)]


def test_a_task_s_pictures(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    page = admin.task(DAG, run_id, "two")
    generation = airflow.xcom(DAG, run_id, "two", "generation")
    assert sources(page) == airflow.xcom(DAG, run_id, "two")
    assert page.count('alt="two newts"') == 2
    assert f"<code>{generation['request_id']}</code>" in page
    assert "<dd>7</dd>" in page
    assert "<dd>$0.02</dd>" in page
    assert f"{generation['inference_time']:.1f} s" in page


#: Those that have something to show; each instance of a mapped batch by itself.
TASKS = {
    "two",
    "three",
    "mapped",
    "batch",
    "large_batch",
    "mapped_batch [0]",
    "mapped_batch [1]",
    "failed",
    "unrenderable",
    "stored",
    "markup",
    "submit",
    "wait",
}


def words(page: str) -> str:
    """What can be read."""
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", page).split()))


def headings(page: str) -> list[str]:
    found = re.findall(r"<h2>(.*?)</h2>", page)
    return [words(re.sub(r"<span.*?</span>", "", heading)) for heading in found]


def test_a_run_s_pictures_are_grouped_by_task_in_the_order_of_the_grid(admin: Visitor, run_id: str) -> None:
    page = admin.get(DAG, run_id).text
    assert set(headings(page)) == TASKS
    grid = admin.http.get(f"/ui/grid/structure/{DAG}").json()
    in_grid = [node["id"] for node in grid if node["id"] != "nothing_of_ours"]
    assert list(dict.fromkeys(re.sub(r" .*", "", heading) for heading in headings(page))) == in_grid
    # 2 + 3 + 2 mapped + 2 of the batch + 70 + 3 of the mapped batches + 2 stored + markup + wait
    assert "<dt>pictures</dt><dd>86</dd>" in page
    assert "<dt>spent</dt><dd>$0.86</dd>" in page
    assert re.search(r">failed</a></dt><dd>3</dd>", page)
    # Of the 70 the first.
    assert len(sources(page)) == 86 - 70 + 8
    assert "8 of 70" in words(page)


def test_a_mapped_task_and_a_batch_as_a_whole_are_a_click_away(admin: Visitor, run_id: str) -> None:
    page = admin.get(DAG, run_id).text
    for heading, pictures in (("mapped", 2), ("large_batch", 60)):
        (link,) = re.findall(rf'<h2><a href="([^"]*)">{heading}</a>', page)
        assert len(sources(admin.http.get(html.unescape(link)).text)) == pictures
    of_one = admin.task(DAG, run_id, "mapped", 0)
    (link,) = re.findall(r'<a href="([^"]*)">All instances of mapped</a>', of_one)
    assert len(sources(admin.http.get(html.unescape(link)).text)) == 2


def test_failed_leads_to_the_failed_alone(admin: Visitor, run_id: str) -> None:
    page = admin.get(DAG, run_id).text
    (link,) = re.findall(r'<dt><a href="([^"]*)">failed</a>', page)
    failed = admin.http.get(html.unescape(link)).text
    assert headings(failed) == ["batch", "failed", "unrenderable"]
    assert failed.count('<li class="card failed') == failed.count('<li class="card') == 3
    # Two of them are one cause, for which each card has its link; what failed in rendering has left none.
    assert "2 ContentBlockedError" in words(failed)
    assert "1 of unknown cause" in words(failed)
    named = re.findall(r'<li><a href="([^"]*)">(batch, row 2|failed|unrenderable)</a>', failed)
    assert sorted(name for _, name in named) == ["batch, row 2", "failed", "unrenderable"]
    assert all(admin.http.get(html.unescape(card)).status_code == 200 for card, _ in named)
    assert "[blocked] a fox" in failed
    # Each has its prompt.
    assert "[blocked] a wolf" in failed
    assert headings(admin.get(DAG, run_id, only="passed").text) == []
    batch = admin.task(DAG, run_id, "batch", only="failed")
    assert prompts(batch) == ["[blocked] a fox"]
    assert "None has failed." in admin.task(DAG, run_id, "two", only="failed")


def test_what_failed_in_rendering_has_a_card(admin: Visitor, run_id: str) -> None:
    page = admin.task(DAG, run_id, "unrenderable")
    assert page.count('<li class="card failed') == 1
    # As Airflow has its fields, which it could not render.
    assert prompts(page) == ["{{ no.such.thing }}"]
    assert "The task failed; its log says why." in words(page)


def test_a_prompt_s_samples_are_numbered(admin: Visitor, run_id: str) -> None:
    page = admin.task(DAG, run_id, "three")
    assert re.findall(r'<span class="number">(\d)</span>', page) == ["1", "2", "3"]
    assert "several of-3" in page


def test_a_mapped_batch_has_a_section_for_each_of_its_instances(admin: Visitor, run_id: str) -> None:
    page = admin.task(DAG, run_id, "mapped_batch")
    assert headings(page) == ["mapped_batch [0]", "mapped_batch [1]"]
    assert prompts(page) == ["a moth", "a bee", "a wasp"]
    assert prompts(admin.task(DAG, run_id, "mapped_batch", 0)) == ["a moth", "a bee"]


def prompts(page: str) -> list[str]:
    return [html.unescape(title) for title in re.findall(r'<p class="prompt" title="(.*?)">', page)]


def test_mapped_tasks_one_by_one_and_together(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    for index, prompt in enumerate(("a cat", "a dog")):
        page = admin.task(DAG, run_id, "mapped", index)
        assert sources(page) == airflow.xcom(DAG, run_id, "mapped", map_index=index)
        assert f'alt="{prompt}"' in page
        # The name that the DAG gives the map index.
        assert f"mapped [{prompt}]" in page
    assert len(sources(admin.task(DAG, run_id, "mapped"))) == 2


def test_a_batch_has_a_card_for_each_item(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    page = admin.task(DAG, run_id, "batch")
    rows = airflow.xcom(DAG, run_id, "batch")
    assert sources(page) == [url for row in rows for url in row["urls"]]
    # What has failed comes first; the rows are numbered as they were asked for.
    assert prompts(page) == ["[blocked] a fox", "a lynx", "an owl"]
    assert re.findall(r'<p class="place">\s*batch, row (\d)', page) == ["2", "1", "3"]
    assert "ContentBlockedError" in page
    assert html.escape(rows[1]["error"]["message"]) in page


def test_a_failed_task_says_why(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    page = admin.task(DAG, run_id, "failed")
    error = airflow.xcom(DAG, run_id, "failed", "error")
    assert f"<strong>{error['type']}</strong>" in page
    assert html.escape(error["message"]) in page
    assert sources(page) == []


def test_what_has_nothing_of_ours_says_what_this_is(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    page = admin.task(DAG, run_id, "nothing_of_ours")
    assert words(page) == "Pictures Here are the images of Kandinsky tasks; this task is none."
    other = airflow.trigger_dag("none_of_ours")
    expected = "Pictures Here are the images of Kandinsky tasks; this run has none."
    assert words(admin.get("none_of_ours", other).text) == expected


def test_a_prompt_with_markup_stays_text(admin: Visitor, run_id: str) -> None:
    page = admin.task(DAG, run_id, "markup")
    assert "<img src=x" not in page
    escaped = "&lt;img src=x onerror=alert(1)&gt; &#34;a&#39; b&#34;"
    # As text, as the title, and as the picture's description.
    assert page.count(escaped) == 3


def test_the_picture_s_page_leads_on(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    first = next(link for link in links(admin.task(DAG, run_id, "two")) if "/0/0" in link)
    page = admin.http.get(first).text
    urls = airflow.xcom(DAG, run_id, "two")
    assert sources(page) == urls[:1]
    assert '<h1 class="prompt">two newts</h1>' in page
    assert f"<code>{urls[0]}</code>" in page
    assert "1 of 2" in page
    following = next(link for link in links(page) if "/0/1" in link)
    assert sources(admin.http.get(following).text) == urls[1:]
    assert "2 newts" not in admin.http.get(links(page)[0]).text
    # It leads back to where it was opened from.
    assert headings(admin.http.get(links(page)[0]).text) == []
    run_page = next(link for link in links(admin.get(DAG, run_id).text) if "within=run" in link)
    assert set(headings(admin.http.get(links(admin.http.get(run_page).text)[0]).text)) == TASKS


def test_from_one_instance_to_the_next(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    # As its card leads to it: since Airflow 3.4 with the region of the mapped task.
    first = next(link for link in links(admin.task(DAG, run_id, "mapped")) if "/mapped/0/0/0" in link)
    page = admin.http.get(first).text
    (following,) = re.findall(r'rel="next" href="([^"]*)"', page)
    assert 'rel="prev"' not in page
    page = admin.http.get(html.unescape(following)).text
    assert sources(page) == airflow.xcom(DAG, run_id, "mapped", map_index=1)
    assert 'rel="prev"' in page
    assert 'rel="next"' not in page


def test_what_failed_has_a_page_of_its_own(admin: Visitor, run_id: str) -> None:
    (link,) = [link for link in links(admin.task(DAG, run_id, "failed")) if "/0/0" in link]
    page = admin.http.get(link).text
    assert '<h1 class="prompt">[blocked] a wolf</h1>' in page
    assert "ContentBlockedError" in page


def test_something_is_seen_at_once(stranger: Visitor, run_id: str) -> None:
    """Without asking Airflow for anything, and without saying anything."""
    page = stranger.http.get(f"/kandinsky-gallery/open/dags/{DAG}/runs/{run_id}")
    assert page.status_code == 200
    assert "Loading the pictures…" in page.text
    assert DAG not in page.text
    assert not re.search(r"<(style|script)>|\son\w+=|style=", page.text)
    (script,) = re.findall(r'src="([^"]*/loading.js[^"]*)"', page.text)
    assert stranger.http.get(script).status_code == 200


def test_pages_load_nothing_from_elsewhere(admin: Visitor, sandbox: Sandbox, run_id: str) -> None:
    answer = admin.get(DAG, run_id, "tasks", "two", "{MAP_INDEX}")
    policy = dict(each.partition(" ")[::2] for each in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "img-src": f"'self' {sandbox.url}",
        "style-src": "'self'",
        "script-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }
    assert not re.search(r"<(style|script)>|\son\w+=|style=", answer.text)
    assert answer.headers["cache-control"] == "no-store"
    for name in ("gallery.css", "gallery.js", "theme.js"):
        (address,) = re.findall(rf'"(/kandinsky-gallery/static/{re.escape(name)}[^"]*)"', answer.text)
        assert admin.http.get(address).status_code == 200


def test_stored_pictures_are_sent(admin: Visitor, airflow: LocalAirflow, run_id: str) -> None:
    uris = airflow.xcom(DAG, run_id, "stored")
    page = admin.task(DAG, run_id, "stored")
    assert len(sources(page)) == len(uris) == 2
    for source, uri in zip(sources(page), uris, strict=True):
        answer = admin.http.get(source)
        assert answer.content == Path(uri.removeprefix("file://")).read_bytes()
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        # A browser asks each time, and is sent nothing if it has it.
        assert answer.headers["cache-control"] == "private, no-cache"
        again = admin.http.get(source, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert admin.http.get(source, headers={"If-None-Match": '"another"'}).content == answer.content


def test_stored_pictures_of_a_manifest_are_sent(admin: Visitor, run_id: str) -> None:
    page = admin.task(DAG, run_id, "large_batch", page=2)
    assert "Page 2 of 2" in page
    assert len(sources(page)) == 10
    assert admin.http.get(sources(page)[-1]).content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "path",
    [
        [],
        ["tasks", "two", "{MAP_INDEX}"],
        ["tasks", "two", -1],
        ["tasks", "two", -1, 0, 0],
        ["tasks", "stored", -1, 0, 0, "file"],
    ],
)
def test_only_for_those_who_may_read_the_xcoms(
    path: list[object], admin: Visitor, visitor_without_xcoms: Visitor, stranger: Visitor, run_id: str
) -> None:
    answer = admin.get(DAG, run_id, *path)
    assert answer.status_code == 200
    refused = visitor_without_xcoms.get(DAG, run_id, *path)
    assert refused.status_code == 403
    assert "You may not read the XComs of this DAG" in refused.text
    unknown = stranger.get(DAG, run_id, *path)
    assert unknown.status_code == 401
    for answer in (refused, unknown):
        assert "newts" not in answer.text
        assert "heron" not in answer.text
    # What is not there is refused in the same words.
    assert visitor_without_xcoms.get(DAG, "no_such_run", *path).text == refused.text
    # What a browser has kept from a time when it was allowed may not be shown again.
    assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
    kept = {"If-None-Match": answer.headers.get("etag", "*")}
    for other, status in ((visitor_without_xcoms, 403), (stranger, 401)):
        assert other.http.get(answer.request.url, headers=kept).status_code == status


def test_without_the_xcoms_the_dag_itself_can_be_read(visitor_without_xcoms: Visitor, run_id: str) -> None:
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/two"
    assert visitor_without_xcoms.http.get(path).status_code == 200
    assert visitor_without_xcoms.http.get(f"{path}/xcomEntries/return_value").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        ["tasks", "no_such_task", "{MAP_INDEX}"],
        ["tasks", "two", 5],
        ["tasks", "two", "x"],
        ["tasks", "two", 10**30],
        ["tasks", "two", -2],
        ["tasks", "two", -1, 0, 2],
        ["tasks", "two", -1, 0, -1],
        ["tasks", "two", -1, 1, 0],
        ["tasks", "two", -1, 0, 0, "file"],
        ["tasks", "stored", -1, 0, 2, "file"],
        ["tasks", "stored", -1, 0, -1, "file"],
        ["tasks", "nothing_of_ours", -1, 0, 0, "file"],
        ["no", "such", "page"],
    ],
)
def test_what_is_not_there(path: list[object], admin: Visitor, run_id: str) -> None:
    answer = admin.get(DAG, run_id, *path)
    assert answer.status_code == 404
    assert "There is nothing of that name." in answer.text


def test_no_such_run_or_dag(admin: Visitor, run_id: str) -> None:
    for dag_id, run in (("no_such_dag", run_id), (DAG, "no_such_run"), ("any_xcoms", run_id), ("~", run_id)):
        assert admin.get(dag_id, run).status_code == 404
        assert admin.get(dag_id, run, "tasks", "two", -1).status_code == 404


def test_under_way_and_then_there(admin: Visitor, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    keep_running(sandbox)
    run_id = airflow.trigger_dag("under_way")
    deadline = time.monotonic() + 180
    while "Submitted; the picture is not there yet." not in (page := admin.get("under_way", run_id).text):
        # From the start, when there is nothing of ours yet: the page is to load again by itself.
        assert "data-auto-refresh" in page
        assert time.monotonic() < deadline, page
        time.sleep(0.2)
    (submission,) = [each for each in sandbox.submissions if each["payload"]["prompt"] == "a slow snail"]
    assert submission["request_id"] in page
    assert "<dt>under way</dt><dd>1</dd>" in page
    assert "data-auto-refresh" in page
    sandbox.clear_faults()
    assert airflow.wait_for_run("under_way", run_id) == "success"
    page = admin.get("under_way", run_id).text
    assert len(sources(page)) == 1
    assert "data-auto-refresh" not in page


@pytest.fixture(scope="module")
def many_run_id(airflow: LocalAirflow, run_id: str) -> str:
    """A run of a paused DAG, two of whose 250 mapped instances have been marked as failed by hand."""
    body = {"logical_date": None, "run_after": "2026-01-01T00:00:00Z"}
    many: str = airflow.api("POST", "/dags/many/dagRuns", json=body)["dag_run_id"]
    for index in (240, 249):
        path = f"/dags/many/dagRuns/{many}/taskInstances/mapped/{index}"
        airflow.api("PATCH", path, json={"new_state": "failed"})
    return many


def instances(page: str) -> list[int]:
    return [int(index) for index in re.findall(r'<p class="place">\s*mapped \[(\d+)\]', page)]


def test_many_instances_are_shown_page_by_page(admin: Visitor, many_run_id: str) -> None:
    pages = [admin.task("many", many_run_id, "mapped", page=number) for number in range(1, 12)]
    assert "Page 1 of 11" in pages[0]
    found = [instances(page) for page in pages]
    # What has failed comes first, wherever it is.
    assert found[0] == [240, 249, *range(22)]
    assert sorted(index for page in found for index in page) == list(range(250))
    for page in (pages[0], pages[-1]):
        assert "<dt>generations in all</dt><dd>250</dd>" in page
        assert "<dt>under way</dt><dd>248</dd>" in page
        assert "data-auto-refresh" in page
    for beyond in (99, 10**30):
        assert instances(admin.task("many", many_run_id, "mapped", page=beyond)) == found[-1]


def test_of_many_the_failed_alone(admin: Visitor, many_run_id: str) -> None:
    assert instances(admin.task("many", many_run_id, "mapped", only="failed")) == [240, 249]
    page = admin.get("many", many_run_id, only="failed").text
    assert headings(page) == ["mapped"]
    assert instances(page) == [240, 249]


def test_of_many_the_first_are_on_the_page_of_the_run(admin: Visitor, many_run_id: str) -> None:
    page = admin.get("many", many_run_id).text
    assert sorted(headings(page)) == ["mapped", "one"]
    assert instances(page) == [240, 249, *range(6)]
    assert "8 of 250" in words(page)
    assert "Show all 250" in words(page)


GENERATION = {"request_id": "r-1", "model": "m", "seed": 7, "cost": 0.01}


def pushed(airflow: LocalAirflow, conn_id: str = "kandinsky_default", output_path: str = "", **xcoms: Any) -> str:
    conf = {"xcoms": xcoms, "conn_id": conn_id, "output_path": output_path}
    run_id = airflow.trigger_dag("any_xcoms", conf)
    assert airflow.wait_for_run("any_xcoms", run_id) == "success"
    return run_id


def overwrite(admin: Visitor, run_id: str, key: str, value: Any) -> None:
    """Change an XCom over REST, as whoever may write XComs can."""
    path = f"/api/v2/dags/any_xcoms/dagRuns/{run_id}/taskInstances/push/xcomEntries/{key}"
    admin.http.patch(path, json={"value": value, "map_index": -1}).raise_for_status()


def answers(admin: Visitor, run_id: str) -> list[httpx.Response]:
    """To a request for each file of the task."""
    found = sources(admin.task("any_xcoms", run_id, "push"))
    assert all(source.startswith("/kandinsky-gallery/") for source in found)
    return [admin.http.get(source) for source in found]


NOT_SHOWN = "This file is not shown. The API server&#39;s log says why."


def test_no_file_but_a_picture_leaves_the_api_server(
    admin: Visitor, airflow: LocalAirflow, output_folder: Path
) -> None:
    (output_folder / "notes.png").write_text("only the name is a picture's")
    (output_folder / "script.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    with (output_folder / "huge.png").open("wb") as huge:
        huge.write(b"\x89PNG\r\n\x1a\n")
        huge.truncate(32 * 2**20 + 1)
    uris = [
        f"file://{output_folder}",
        f"file://{output_folder}/notes.png",
        f"file://{output_folder}/script.svg",
        f"file://{output_folder}/huge.png",
        f"file://{output_folder}/not_found.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "file:///dev/zero",
        "s3://bucket/1.png",
        "no_such_scheme://x/1.png",
        "javascript://x/%0aalert(1)",
    ]
    run_id = pushed(airflow, output_path=f"file://{output_folder}", generation=GENERATION, return_value=uris)
    page = admin.task("any_xcoms", run_id, "push")
    assert not [link for link in links(page) if not link.startswith("/kandinsky-gallery/")]
    refused = answers(admin, run_id)
    assert len(refused) == len(uris)
    for answer in refused:
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        # The same for all, so that no response says what exists.
        assert answer.text == refused[0].text
        assert NOT_SHOWN in answer.text


def test_who_may_write_xcoms_sees_no_files_but_those_of_the_task(
    admin: Visitor, airflow: LocalAirflow, output_folder: Path
) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
    for name in ("mine/1.png", "mine-too/1.png", "secret.png"):
        (output_folder / name).parent.mkdir(exist_ok=True)
        (output_folder / name).write_bytes(png)
    (output_folder / "mine" / "link.png").symlink_to(output_folder / "secret.png")
    mine = f"file://{output_folder}/mine"
    run_id = pushed(airflow, output_path=mine, generation=GENERATION, return_value=[f"{mine}/1.png"])
    (shown,) = answers(admin, run_id)
    assert shown.content == png
    overwrite(
        admin,
        run_id,
        "return_value",
        [
            f"file://{output_folder}/secret.png",
            f"{mine}/../secret.png",
            f"{mine}/.\t./secret.png",
            f"{mine}/link.png",
            f"{mine}//../secret.png",
            f"{mine}-too/1.png",
            f"local://{output_folder}/mine/../secret.png",
            f"file://trusting@{output_folder}/mine/1.png",
            f"simplecache::file://{output_folder}/secret.png",
            f"{mine}/\u200b/../../secret.png",
        ],
    )
    refused = answers(admin, run_id)
    assert len(refused) == 10
    assert {(answer.status_code, answer.text) for answer in refused} == {(404, refused[0].text)}
    assert NOT_SHOWN in refused[0].text
    # The one on call can see why.
    assert "secret.png' of push [-1]" in airflow.log_file("api-server").read_text()


def test_without_a_rendered_output_path_no_file_is_shown(
    admin: Visitor, airflow: LocalAirflow, output_folder: Path
) -> None:
    (output_folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run_id = pushed(airflow, generation=GENERATION, return_value=[f"file://{output_folder}/1.png"])
    page = admin.task("any_xcoms", run_id, "push")
    assert sources(page) == []
    assert "Stored, and not shown here" in page
    answer = admin.get("any_xcoms", run_id, "tasks", "push", -1, 0, 0, "file")
    assert answer.status_code == 404
    assert NOT_SHOWN in answer.text


def test_a_manifest_is_read_only_where_the_task_writes_it(
    admin: Visitor, airflow: LocalAirflow, output_folder: Path
) -> None:
    (output_folder / "batch").mkdir()
    for name in ("batch/manifest_1.jsonl", "manifest_1.jsonl"):
        (output_folder / name).write_text('{"request_id": "only-in-the-manifest"}\n')
    counts = {"items": 1, "succeeded": 1, "failed": 0, "cost": 0.01}
    place = f"file://{output_folder}/batch"
    run_id = pushed(airflow, output_path=place, counts=counts, manifest=f"{place}/manifest_1.jsonl")
    assert "only-in-the-manifest" in admin.task("any_xcoms", run_id, "push")
    for uri in (
        f"file://{output_folder}/manifest_1.jsonl",
        f"{place}/../manifest_1.jsonl",
        "file:///etc/passwd",
        "s3://x",
    ):
        overwrite(admin, run_id, "manifest", uri)
        page = html.unescape(admin.task("any_xcoms", run_id, "push"))
        assert "only-in-the-manifest" not in page
        # As for one that is not there.
        assert f"A batch of 1 items. Each of them is in the manifest {uri}." in page


def test_the_administrator_can_switch_it_off(airflow_without_files: LocalAirflow, run_id: str) -> None:
    guest = visitor(airflow_without_files, None)
    page = guest.task(DAG, run_id, "stored")
    assert sources(page) == []
    assert page.count("Stored, and not shown here") == 2
    answer = guest.get(DAG, run_id, "tasks", "stored", -1, 0, 0, "file")
    assert answer.status_code == 404
    assert NOT_SHOWN in answer.text
    assert "A batch of 70 items. Each of them is in the manifest" in guest.task(DAG, run_id, "large_batch")
    # What is at the service is shown as ever.
    assert len(sources(guest.task(DAG, run_id, "two"))) == 2


# As JSON in JSON, which Airflow's REST API leaves for others to read; more of it is in the tests of the cards.
@pytest.mark.parametrize(
    ("key", "value"),
    [("generation", "[" * 100_000 + "]" * 100_000), ("return_value", ["x" * 1000] * 5000)],
    ids=["nested too deeply", "too long"],
)
def test_an_xcom_that_cannot_be_read_breaks_no_page(
    key: str, value: Any, admin: Visitor, airflow: LocalAirflow
) -> None:
    run_id = pushed(airflow, **({"generation": GENERATION} | {key: value}))
    page = admin.get("any_xcoms", run_id)
    assert page.status_code == 200
    assert f"This cannot be shown: XCom {key} is too long, or nested too deeply." in page.text


def test_half_a_surrogate_pair_breaks_no_page(admin: Visitor, airflow: LocalAirflow) -> None:
    half = "\ud800"
    run_id = pushed(
        airflow,
        arguments=json.dumps({"prompt": half, half: half}),
        generation=json.dumps(GENERATION | {"request_id": half}),
        return_value=json.dumps(["http://127.0.0.1:1/" + half]),
    )
    for path in ([], ["tasks", "push", -1], ["tasks", "push", -1, 0, 0]):
        assert admin.get("any_xcoms", run_id, *path).status_code == 200


def test_a_connection_that_nobody_may_have_breaks_no_page(admin: Visitor, airflow: LocalAirflow) -> None:
    urls = ["https://images.segmind.com/1.png", "https://elsewhere.example/1.png"]
    run_id = pushed(airflow, denying_backend.DENIED, generation=GENERATION, return_value=urls)
    answer = admin.get("any_xcoms", run_id)
    assert answer.status_code == 200
    assert sources(answer.text) == urls[:1]
    assert denying_backend.REASON not in airflow.log_file("api-server").read_text()


@pytest.mark.parametrize(
    ("task_id", "map_index", "leads_to"),
    [
        ("two", -1, "image"),
        ("mapped", 1, "image"),
        ("wait", -1, "image"),
        ("stored", -1, "tasks/stored"),
        ("failed", -1, "tasks/failed"),
        ("unrenderable", -1, "tasks/unrenderable"),
        ("mapped_batch", 0, "image of a row"),
    ],
)
def test_the_link_of_a_task_leads_to_its_first_image_or_to_its_tab(
    task_id: str, map_index: int, leads_to: str, admin: Visitor, airflow: LocalAirflow, run_id: str
) -> None:
    answer = admin.get(DAG, run_id, "tasks", task_id, map_index, "image")
    expected = f"/dags/{DAG}/runs/{quote(run_id, safe='')}/{leads_to}/plugin/kandinsky-gallery"
    if leads_to == "image":
        expected = airflow.xcom(DAG, run_id, task_id, map_index=map_index)[0]
    elif leads_to == "image of a row":
        expected = airflow.xcom(DAG, run_id, task_id, map_index=map_index)[0]["urls"][0]
    assert (answer.status_code, answer.headers["location"]) == (302, expected)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example/1.png", "javascript:alert(1)", "https://images.segmind.com@elsewhere.example/1"]
)
def test_the_link_leads_to_no_other_host(url: str, admin: Visitor, airflow: LocalAirflow) -> None:
    run_id = pushed(airflow, generation=GENERATION, return_value=[url])
    answer = admin.get("any_xcoms", run_id, "tasks", "push", -1, "image")
    tab = f"/dags/any_xcoms/runs/{quote(run_id, safe='')}/tasks/push/plugin/kandinsky-gallery"
    assert (answer.status_code, answer.headers["location"]) == (302, tab)


def test_the_link_tells_nothing_to_who_may_not_read_the_xcoms(
    visitor_without_xcoms: Visitor, stranger: Visitor, run_id: str
) -> None:
    path = ("tasks", "two", -1, "image")
    assert visitor_without_xcoms.get(DAG, run_id, *path).status_code == 403
    assert stranger.get(DAG, run_id, *path).status_code == 401


def test_no_range_of_a_static_file_keeps_the_server_busy(admin: Visitor) -> None:
    path = "/kandinsky-gallery/static/gallery.css"
    whole = admin.http.get(path)
    ranges = "bytes=" + ",".join(f"{start}-{start}" for start in range(0, 8000, 2))
    answer = admin.http.get(path, headers={"Range": ranges})
    assert (answer.status_code, answer.content) == (200, whole.content)
    for name in ("no_such.css", "..%2fapp.py", "%2e%2e/app.py"):
        assert admin.http.get(f"/kandinsky-gallery/static/{name}").status_code == 404


@pytest.mark.parametrize("conn_id", ["kandinsky_default", "database", "broken", "no_such_connection"])
def test_no_picture_is_loaded_from_other_hosts(conn_id: str, admin: Visitor, airflow: LocalAirflow) -> None:
    run_id = pushed(airflow, conn_id, generation=GENERATION, return_value=["https://elsewhere.example/1.png"])
    answer = admin.get("any_xcoms", run_id)
    assert sources(answer.text) == []
    assert "Not shown: it is not at a host that pictures may come from" in answer.text
    assert "elsewhere.example" not in answer.headers["content-security-policy"]
    assert "elsewhere.example" not in answer.text


@pytest.mark.parametrize("conn_id", ["trusting", "keyless"])
def test_the_task_s_own_connection_tells_the_hosts(conn_id: str, admin: Visitor, airflow: LocalAirflow) -> None:
    run_id = pushed(airflow, conn_id, generation=GENERATION, return_value=["https://elsewhere.example/1.png"])
    answer = admin.get("any_xcoms", run_id)
    assert sources(answer.text) == ["https://elsewhere.example/1.png"]
    assert "img-src 'self' https://elsewhere.example;" in answer.headers["content-security-policy"]


def test_markup_in_any_field_stays_text(admin: Visitor, airflow: LocalAirflow) -> None:
    evil = "\"'><script>alert(1)</script>"
    run_id = pushed(
        airflow,
        arguments={"prompt": evil, "scheduler": evil, "seed": 7},
        generation=GENERATION | {"request_id": evil},
        error={"type": evil, "message": f"{evil} [billed: no]"},
        return_value=["http://127.0.0.1:1/" + evil, "file:///" + evil],
    )
    page = admin.get("any_xcoms", run_id).text
    assert "&lt;script&gt;" in page
    for link in {link for link in links(page) if "/tasks/" in link}:
        page += admin.http.get(link).text
    assert "<script>alert" not in page
    assert "onerror" not in page


def test_the_tabs_are_told_to_the_ui(admin: Visitor) -> None:
    plugins = admin.http.get("/api/v2/plugins").json()["plugins"]
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "kandinsky_gallery"]
    tabs = {view["destination"]: view["href"] for view in ours["external_views"]}
    assert tabs == {
        "dag_run": "kandinsky-gallery/open/dags/{DAG_ID}/runs/{RUN_ID}",
        "task_instance": "kandinsky-gallery/open/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}",
    }
    assert admin.http.get("/api/v2/plugins/importErrors").json()["import_errors"] == []


def test_nothing_went_wrong_on_the_way(airflow: LocalAirflow) -> None:
    """Last, so that it speaks of all the others."""
    assert "Traceback" not in airflow.log_file("api-server").read_text()
