"""What a user's clear finds: results that are not there any more, other places, images that are wanted once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME
from airflow_provider_kandinsky.segmind.errors import SubmissionUnknownError

from ..support.task_instance import FakeTaskInstance, cats, paint, paint_all

A_WEEK = IMAGE_LIFETIME + 1
#: One image, and a batch of one.
OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all(["a cat"], **arguments),
}


def urls(result: Any) -> list[str]:
    return [url for each in result for url in (each["urls"] if isinstance(each, dict) else [each])]


def test_a_batch_whose_urls_are_dead_is_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    first = ti.run(paint_all(cats(3)))
    ti.age(A_WEEK)
    ti.clear()
    assert {*urls(ti.run(paint_all(cats(3))))}.isdisjoint(urls(first))
    assert len(sandbox.submissions) == 6
    assert "The images of 3 items are not kept any more by the service; submitting them again" in caplog.text


def test_a_batch_whose_files_are_there_is_given_again_after_a_week(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path
) -> None:
    first = ti.run(paint_all(cats(3), output_path=f"file://{tmp_path}"))
    ti.age(A_WEEK)
    ti.clear()
    assert ti.run(paint_all(cats(3), output_path=f"file://{tmp_path}")) == first
    assert len(sandbox.submissions) == 3


@pytest.mark.parametrize("age", [0.0, A_WEEK])
def test_files_that_were_deleted_are_stored_again_or_submitted_again(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, age: float
) -> None:
    first = ti.run(paint_all(cats(3), output_path=f"file://{tmp_path}"))
    Path(first[1]["urls"][0].removeprefix("file://")).unlink()
    ti.age(age)
    ti.clear()

    rows = ti.run(paint_all(cats(3), output_path=f"file://{tmp_path}"))

    assert all(Path(url.removeprefix("file://")).exists() for url in urls(rows))
    assert (rows[0], rows[2]) == (first[0], first[2])
    assert len(sandbox.submissions) == (4 if age else 3)


@pytest.mark.parametrize("age", [0.0, A_WEEK])
def test_another_place_is_given_what_the_service_has(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, age: float
) -> None:
    ti.run(paint_all(cats(2), output_path=f"file://{tmp_path}/old"))
    ti.age(age)
    ti.clear()
    rows = ti.run(paint_all(cats(2), output_path=f"file://{tmp_path}/new"))
    assert all(url.startswith(f"file://{tmp_path}/new/") for url in urls(rows))
    assert len(sandbox.submissions) == (4 if age else 2)


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_old_image_is_not_taken_for_the_new_one(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    """With seed -1, cleared immediately, the second POST never arrives: the history has the first job only."""
    first = urls(ti.run(OPERATORS[kind](seed=-1)))
    ti.clear()
    sandbox.fault("submit", drop=True)
    with pytest.raises(Exception, match=SubmissionUnknownError.__name__ if kind == "batch" else "response was lost"):
        ti.run(OPERATORS[kind](seed=-1))
    ti.retry()
    second = urls(ti.run(OPERATORS[kind](seed=-1)))
    assert set(first).isdisjoint(second)
    assert len(sandbox.submissions) == 2


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_failed_job_is_not_taken_for_the_one_after_it(sandbox: Sandbox, ti: FakeTaskInstance, kind: str) -> None:
    """The history lags: it has the job that failed, and not yet the one that was accepted in its place."""
    sandbox.configure(jobs_fail=True)
    with pytest.raises(Exception, match="failed"):
        ti.run(OPERATORS[kind](seed=7))
    sandbox.configure(jobs_fail=False, latency=0)
    ti.retry()
    sandbox.fault("submit", drop=True, after=True)
    sandbox.fault("history", status=403, times=100)
    with pytest.raises(Exception, match=SubmissionUnknownError.__name__ if kind == "batch" else "response was lost"):
        ti.run(OPERATORS[kind](seed=7))
    sandbox.clear_faults()
    ti.retry()
    assert len(urls(ti.run(OPERATORS[kind](seed=7)))) == 1
    assert len(sandbox.submissions) == 2
