"""The tables of what was measured are those that the benchmarks wrote."""

from __future__ import annotations

import json

import pytest

from benchmarks.table import RESULTS, pages, with_tables

PAGES = [page for page in pages() if "<!-- benchmark:" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_made_from_the_json(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "python -m benchmarks.table writes them again"


def test_every_result_says_what_it_was_measured_on_and_is_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    results = sorted(RESULTS.glob("*.json"))
    assert results
    for result in results:
        measured = json.loads(result.read_text())["measured"]
        assert measured.keys() == {"commit", "date", "airflow", "python", "cores"}
        assert "dirty" not in measured["commit"]
        assert f"<!-- benchmark: {result.stem} -->" in shown
