"""The tables of docs/money.md and the policy say the same, row for row."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from airflow_provider_kandinsky.durable.policy import (
    History,
    OnUnknownSubmit,
    Step,
    after_lost_response,
    after_not_found,
)
from airflow_provider_kandinsky.segmind.constants import IMAGE_LIFETIME, RECORD_LIFETIME

from .documentation import read

#: What a cell begins with; the first that fits.
STEPS = {
    "fail with `IncompleteResultError`": Step.INCOMPLETE,
    "fail with `JobTimeoutError`": Step.WAIT,
    "fail": Step.FAIL,
    "submit": Step.SUBMIT,
    "re-attach": Step.REATTACH,
    "deliver": Step.DELIVER,
}
#: For each column of the second table: how old the submission is, and whether a whole wait gave nothing but 404.
COLUMNS = [(5.0, False), (5.0, True), (RECORD_LIFETIME, False), (IMAGE_LIFETIME + 1, False)]

each_way = pytest.mark.parametrize("way", get_args(OnUnknownSubmit))


def table_below(heading: str) -> dict[History, list[str]]:
    """The first table below a heading: for each word of the history the other cells of its row."""
    text = read("docs/money.md").partition(f"\n### {heading}\n")[2]
    (table, *_) = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    _, _, *rows = table.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len({word for word, *_ in cells}) == len(cells)
    return {History(word): others for word, *others in cells}


def step_in(cell: str, way: OnUnknownSubmit) -> Step:
    """What a cell says, where ``on_unknown_submit`` says so."""
    said = cell.partition(f'`"{way}"`: ')[2] or cell
    return next(step for words, step in STEPS.items() if said.startswith(words))


@each_way
def test_a_lost_response(way: OnUnknownSubmit) -> None:
    table = table_below("A lost response")
    assert set(table) == set(History)
    for history, (cell, presumed) in table.items():
        assert step_in(cell, way) is after_lost_response(history, way), history
        presumed_step = step_in(cell if presumed == "the same" else presumed, way)
        assert presumed_step is after_lost_response(history, way, is_presumed=True), history


@each_way
@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_a_404(way: OnUnknownSubmit, column: int) -> None:
    table = table_below("A 404")
    assert set(table) == set(History) - {History.DOUBTFUL}  # an id is never perhaps there
    age, has_waited = COLUMNS[column]
    for history, cells in table.items():
        assert len(cells) == len(COLUMNS)
        assert step_in(cells[column], way) is after_not_found(history, age, way, has_waited=has_waited), history
