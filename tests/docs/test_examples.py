"""The page of the example DAGs has all of them, with their graphs as they are."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from airflow import sdk
from airflow.dag_processing.dagbag import DagBag

from .documentation import ROOT, read

EXAMPLES = ROOT / "example_dags"
PAGE = "docs/examples.rst"


def graphs() -> dict[str, set[tuple[str, str]]]:
    """The edges on the page, by the name of the file whose code follows them."""
    sections = re.findall(
        r"^::\n\n((?: {3}.*\n|\n)+?)\n\.\. literalinclude:: \.\./example_dags/(\w+)\.py", read(PAGE), re.M
    )
    found = {}
    for text, name in sections:
        chains = [line.strip().split(" → ") for line in text.splitlines() if line.strip()]
        found[name] = {
            (one, other)
            for chain in chains
            for before, after in pairwise(chain)
            for one in before.split(", ")
            for other in after.split(", ")
        }
    return found


def test_every_example_is_there() -> None:
    assert set(graphs()) == {file.stem for file in EXAMPLES.glob("*.py")}


def test_those_that_make_images_show_their_gallery() -> None:
    """``make screenshots`` has taken them."""
    parts = re.split(r"^\.\. literalinclude:: \.\./example_dags/(\w+)\.py", read(PAGE), flags=re.M)
    shown = {
        name for text, name in zip(parts[::2], parts[1::2], strict=False) if f"images/examples/{name}.webp" in text
    }
    assert shown == set(graphs()) - {"spend_report"}
    assert all((ROOT / "docs" / "images" / "examples" / f"{name}.webp").stat().st_size <= 40_000 for name in shown)


@pytest.mark.parametrize("name", sorted(graphs()))
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
    assert graphs()[name] == edges
