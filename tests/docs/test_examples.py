"""Each example DAG has a page, with its graph as it is."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from airflow import sdk
from airflow.dag_processing.dagbag import DagBag

from .documentation import ROOT

EXAMPLES = ROOT / "example_dags"
PAGES = ROOT / "docs" / "examples"
NAMES = sorted(file.stem for file in EXAMPLES.glob("*.py"))


def page(name: str) -> str:
    return (PAGES / f"{name}.rst").read_text(encoding="utf-8")


def graph(name: str) -> set[tuple[str, str]]:
    """The edges on the page of an example."""
    text = re.search(
        rf"^::\n\n((?: {{3}}.*\n|\n)+?)\n\.\. literalinclude:: \.\./\.\./example_dags/{name}\.py", page(name), re.M
    )
    assert text is not None
    chains = [line.strip().split(" → ") for line in text[1].splitlines() if line.strip()]
    return {
        (one, other)
        for chain in chains
        for before, after in pairwise(chain)
        for one in before.split(", ")
        for other in after.split(", ")
    }


def test_every_example_has_a_page_and_is_listed() -> None:
    assert sorted(file.stem for file in PAGES.glob("*.rst") if file.stem != "index") == NAMES
    assert sorted(re.findall(r":doc:`[^`]+ <(\w+)>`", page("index"))) == NAMES
    assert sorted(re.findall(r"^   (\w+)$", page("index"), re.M)) == NAMES


def test_those_that_make_images_show_their_gallery() -> None:
    """``make screenshots`` has taken them."""
    shown = {name for name in NAMES if f"../images/examples/{name}.webp" in page(name)}
    assert shown == set(NAMES) - {"spend_report"}
    assert all((ROOT / "docs" / "images" / "examples" / f"{name}.webp").stat().st_size <= 40_000 for name in shown)


@pytest.mark.parametrize("name", NAMES)
def test_graphs_are_those_of_the_dags(name: str, tmp_path: Path) -> None:
    if name in ("repeat_until_detailed", "repaint_until_chosen") and not hasattr(sdk, "LoopDecision"):
        pytest.skip("this Airflow has no task loops")
    bag = DagBag(EXAMPLES / f"{name}.py", bundle_path=EXAMPLES)
    assert bag.import_errors == {}
    edges = {
        (task_id, after)
        for dag in bag.dags.values()
        for task_id, each in dag.task_dict.items()
        for after in each.downstream_task_ids
    }
    assert graph(name) == edges
