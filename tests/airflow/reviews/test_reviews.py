"""Reviews in a real Airflow: the same on each that can wait for people, whatever waits there in the task's place."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_kandinsky.compat.airflow import hitl_operator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from ...gallery.visitor import visitor
from .people import ANSWERS_ALL, ASSIGNED, Reviews, images_of, paths_of_images

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("second airflow"),
    pytest.mark.skipif(hitl_operator() is None, reason="Airflow 3.0 has no human-in-the-loop tasks"),
]


def test_several_of_a_mapped_task(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("review_mapped")
    reviews = Reviews(airflow, "review_mapped", run_id)
    form = reviews.form()
    assert form["options"] == ["Image 1", "Image 2", "Image 3", "None of them"]
    assert form["multiple"]
    # The markup of the prompt is text.
    assert r"\<img src\=x" in form["body"]
    assert form["body"].count("![") == 3
    comment = "<b>more</b> [sky](javascript:alert(1)) {{ params }}"
    reviews.answer(form, "Image 3", "Image 1", comment=comment, user=ANSWERS_ALL)
    assert airflow.wait_for_run("review_mapped", run_id) == "success"
    first, second, third = (airflow.xcom("review_mapped", run_id, "paint", map_index=index)[0] for index in range(3))
    assert airflow.xcom("review_mapped", run_id, "review") == [first, third]
    assert airflow.xcom("review_mapped", run_id, "review", "rejected") == [second]
    assert airflow.xcom("review_mapped", run_id, "review", "comment") == comment
    assert len(sandbox.submissions) == 3


def test_too_few_of_sixty_are_asked_again_and_only_who_is_assigned_may_answer(
    airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    run_id = airflow.trigger_dag("review_batch")
    reviews = Reviews(airflow, "review_batch", run_id)
    form = reviews.form()
    assert len(form["options"]) == 60
    assert [each["id"] for each in form["assigned_users"]] == [ASSIGNED]
    with pytest.raises(RuntimeError, match="403"):
        reviews.answer(form, "Image 1", "Image 2", user=ANSWERS_ALL)
    reviews.answer(reviews.form(), "Image 7")
    # Two are wanted: the form comes back, for the same person only.
    form = reviews.form()
    with pytest.raises(RuntimeError, match="403"):
        reviews.answer(form, "Image 1", "Image 2", user=ANSWERS_ALL)
    reviews.answer(form, "Image 60", "Image 7")
    assert airflow.wait_for_run("review_batch", run_id) == "success"
    rows = airflow.xcom("review_batch", run_id, "paint")
    assert airflow.xcom("review_batch", run_id, "review") == [rows[6], rows[59]]
    assert len(airflow.xcom("review_batch", run_id, "review", "rejected")) == 58
    assert len(sandbox.submissions) == 60


def test_stored_images_are_sent_to_the_person(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("review_stored")
    reviews = Reviews(airflow, "review_stored", run_id)
    form = reviews.form()
    assert len({*images_of(airflow, form)}) == 3
    assert httpx.get(f"{airflow.base_url}{paths_of_images(form)[0]}", trust_env=False).status_code == 401
    # The tab of the task has them, too, while it waits.
    assert visitor(airflow, ANSWERS_ALL).task("review_stored", run_id, "review").count('<li class="card') == 3
    reviews.answer(form, "None of them")
    assert airflow.wait_for_run("review_stored", run_id) == "success"
    assert airflow.xcom("review_stored", run_id, "review") == []
    assert airflow.xcom("review_stored", run_id, "review", "rejected") == airflow.xcom("review_stored", run_id, "paint")


def test_a_timeout_leaves_what_the_defaults_say(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("review_timeout")
    assert airflow.wait_for_run("review_timeout", run_id) == "failed"
    states = {each["task_id"]: each["state"] for each in airflow.task_instances("review_timeout", run_id)}
    assert states == {"paint": "success", "review": "success", "fails": "failed"}
    assert airflow.xcom("review_timeout", run_id, "review") == airflow.xcom("review_timeout", run_id, "paint")
    assert airflow.xcom("review_timeout", run_id, "review", "rejected") == []
    assert "HITLTimeoutError" in airflow.task_log("review_timeout", run_id, "fails")
