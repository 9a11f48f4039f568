"""Task loops in a real Airflow: an iteration pays for its own images, each once."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from typing import Any

import pytest
from airflow import sdk

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ..gallery.visitor import visitor

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.skipif(not hasattr(sdk, "LoopDecision"), reason="this Airflow has no task loops"),
]

REPEAT = "kandinsky_repeat_until_detailed"
MARKET = "a market hall seen from above, every stall in detail, engraving"


def seeds(sandbox: Sandbox, prompts: str) -> list[int]:
    """Those of what was asked for with some prompts; other runs may not be over."""
    return [each["payload"]["seed"] for each in sandbox.submissions if each["payload"]["prompt"] in prompts]


def test_it_repeats_until_the_check_is_content(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(REPEAT, {"minimum_size": 1})
    assert airflow.wait_for_run(REPEAT, run_id) == "success"
    (submitted,) = sandbox.submissions
    assert submitted["request_id"] in airflow.xcom(REPEAT, run_id, "best")


def test_it_repeats_at_most_so_many_times(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(REPEAT, {"minimum_size": 10**9})
    assert airflow.wait_for_run(REPEAT, run_id) == "failed"
    assert len(seeds(sandbox, MARKET)) == len(set(seeds(sandbox, MARKET))) == 4


def test_no_retry_of_an_iteration_pays_again(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("loop_of_retries")
    assert airflow.wait_for_run("loop_of_retries", run_id, timeout=240) == "success"
    painters = ("again.in_worker", "again.deferred")
    instances = airflow.task_instances("loop_of_retries", run_id)
    tries = [each["try_number"] for each in instances if each["task_id"] in painters]
    assert len(tries) == 6
    assert min(tries) > 1
    submitted: dict[str, list[dict[str, Any]]] = {prompt: [] for prompt in ("a cat", "a dog")}
    for each in sandbox.submissions:
        submitted[each["payload"]["prompt"]].append(each)
    assert {prompt: len(of_it) for prompt, of_it in submitted.items()} == {"a cat": 3, "a dog": 3}
    assert len({each["payload"]["seed"] for each in submitted["a cat"]}) == 3

    collected = airflow.xcom("loop_of_retries", run_id, "collect")
    ids = {prompt: [each["request_id"] for each in of_it] for prompt, of_it in submitted.items()}
    assert (collected["in_worker"], collected["deferred"]) == (ids["a cat"], ids["a dog"])
    for urls, *of_iteration in zip(collected["urls"], ids["a cat"], ids["a dog"], strict=True):
        assert all(request_id in url for request_id, url in zip(of_iteration, urls, strict=True))


def test_mapped_instances_and_batches_have_their_own_in_each_iteration(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("loop_of_many")
    assert airflow.wait_for_run("loop_of_many", run_id, timeout=240) == "success"
    prompts = Counter(each["payload"]["prompt"] for each in sandbox.submissions)
    assert {prompt: prompts[prompt] for prompt in "abcd"} == dict.fromkeys("abcd", 2)
    assert len(set(seeds(sandbox, "abcd"))) == 8
    gallery_shows_each(airflow, "loop_of_many", run_id, [each["request_id"] for each in sandbox.submissions])


def gallery_shows_each(airflow: LocalAirflow, dag_id: str, run_id: str, request_ids: list[str]) -> None:
    """On the page of the run, where each link leads to another page or image."""
    person = visitor(airflow, None)
    page = person.get(dag_id, run_id)
    assert page.status_code == 200, page.text
    assert sorted(re.findall(r"<code>([^<]*)</code>", page.text)) == sorted(request_ids)
    targets = {unescape(each) for each in re.findall(r'(?:href|src)="(/kandinsky-gallery/dags[^"]*)"', page.text)}
    found = {target: person.http.get(target) for target in targets}
    assert {target: each.status_code for target, each in found.items() if each.status_code != 200} == {}
    large = [each.text for target, each in found.items() if "within=run" in target]
    assert {id for id in request_ids if not any(id in each for each in large)} == set()
    files = [each for target, each in found.items() if "/file?" in target]
    assert len({each.content for each in files}) == len(files) == 4
    # Neither the tab nor the link of one task says which iteration it is of.
    assert person.task(dag_id, run_id, "again.mapped").count('<li class="card') == 4
