"""What type checkers are given is what the code takes and leaves."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky import types
from airflow_provider_kandinsky.compat.airflow import AirflowFailException
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.models import CATALOGUE
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

from .support.task_instance import FakeTaskInstance, another_run, paint, paint_all


def keys_of(typed: Any) -> tuple[set[str], set[str]]:
    """The keys that must be there, and those that may."""
    return set(typed.__required_keys__), set(typed.__optional_keys__)


@pytest.mark.parametrize(
    ("literal", "parameter"),
    [(types.Scheduler, "scheduler"), (types.ImageSide, "img_width"), (types.ImageSide, "img_height")],
)
def test_the_choices_are_the_catalogues(literal: Any, parameter: str) -> None:
    assert typing.get_args(literal) == CATALOGUE[DEFAULT_MODEL].parameters[parameter].choices


def test_a_request_has_the_generation_arguments() -> None:
    names = set(TextToImageRequest.model_fields)
    assert keys_of(types.GenerationArguments) == ({"prompt"}, names - {"prompt"})
    assert keys_of(types.BatchRequest) == ({"prompt"}, names - {"prompt"} | {"key"})


def test_a_generation_has_its_keys(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    required, optional = keys_of(types.Generation)
    ti.run(paint())
    assert set(ti.pushed["generation"]) == required
    for number, added in enumerate([{"locations"}, {"locations", "reused"}], start=2):
        again = another_run(number)
        again.run(paint(output_path=f"file://{tmp_path}", reuse=True))
        assert set(again.pushed["generation"]) == required | added
    assert optional == {"locations", "reused"}


def test_an_error_has_its_keys(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException):
        ti.run(paint(prompt="[blocked]"))
    assert keys_of(types.ErrorRecord) == (set(ti.pushed["error"]), set())


def test_the_rows_and_counts_of_a_batch_have_their_keys(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    required, optional = keys_of(types.BatchRow)
    (row,) = ti.run(paint_all(["a cat"]))
    assert set(row) == required
    assert keys_of(types.BatchCounts) == (set(ti.pushed["counts"]), set())
    ti.clear()
    (stored,) = ti.run(paint_all([{"key": 7, "prompt": "a cat"}], output_path=f"file://{tmp_path}", reuse=True))
    assert set(stored) == required | optional
    (line,) = Path(ti.pushed["manifest"].removeprefix("file://")).read_text().splitlines()
    assert set(json.loads(line)) == {*keys_of(types.ManifestRow)[0], *optional}


@pytest.mark.parametrize("typed", [types.BatchRequest, types.Generation, types.ManifestRow, types.BatchCounts])
def test_annotations_can_be_read_at_run_time(typed: Any) -> None:
    """As pydantic and Airflow's own inference of outputs do."""
    assert typing.get_type_hints(typed).keys() == typed.__required_keys__ | typed.__optional_keys__
