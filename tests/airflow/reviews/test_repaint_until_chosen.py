"""A loop of generations that a person ends: each iteration has its own form, and submits its own images once."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow import sdk

from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from .people import Reviews, images_of

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.xdist_group("second airflow"),
    pytest.mark.skipif(not hasattr(sdk, "LoopDecision"), reason="this Airflow has no task loops"),
]

DAG = "kandinsky_repaint_until_chosen"


def test_it_repaints_what_is_rejected_until_one_is_chosen(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(DAG, {"prompt": "a fox"})
    reviews = Reviews(airflow, DAG, run_id)
    first = reviews.form("attempt.review")
    assert first["subject"] == "Round 1 of 3"
    reviews.answer(first, "None of them", comment="with a hat")
    second = reviews.form("attempt.review", but_not=first)
    assert second["subject"] == "Round 2 of 3"
    # Each shows its own images.
    shown = [images_of(airflow, form) for form in (first, second)]
    assert len({image for images in shown for image in images}) == 8
    reviews.answer(second, "Image 2")
    assert airflow.wait_for_run(DAG, run_id) == "success"
    assert [each["payload"]["prompt"] for each in sandbox.submissions] == ["a fox", "a fox, with a hat"]
    assert len({each["payload"]["seed"] for each in sandbox.submissions}) == 2
    chosen = airflow.xcom(DAG, run_id, "publish")
    assert chosen.endswith(f"{sandbox.submissions[1]['request_id']}-1.png")
    assert Path(chosen.removeprefix("file://")).read_bytes() == shown[1][1]


def test_it_repaints_at_most_twice(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag(DAG, {"prompt": "a hen"})
    reviews = Reviews(airflow, DAG, run_id)
    form = None
    for comment in ("brown", "", "asleep"):
        form = reviews.form("attempt.review", but_not=form)
        reviews.answer(form, "None of them", comment=comment)
    assert airflow.wait_for_run(DAG, run_id) == "failed"
    # Another test's run may not be over, if that test has failed.
    submitted = [each["payload"] for each in sandbox.submissions if each["payload"]["prompt"].startswith("a hen")]
    assert [each["prompt"] for each in submitted] == ["a hen", "a hen, brown", "a hen, brown"]
    assert len({each["seed"] for each in submitted}) == 3
