"""The tables of metrics, facets and log lines are the code's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_kandinsky.observability.lineage import Lineage, facets
from airflow_provider_kandinsky.observability.metrics import JobMetrics, Metric
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image

from .test_docs import rows, sentences

PAGE = "docs/observability.md"


class Recorded:
    """Airflow's Stats, as far as to see what it is sent."""

    def __init__(self) -> None:
        self.reported: dict[str, tuple[str, set[str]]] = {}

    def incr(self, name: str, _: float, tags: dict[str, str]) -> None:
        self.reported.setdefault(name, ("counter", set(tags)))

    def timing(self, name: str, _: Any, tags: dict[str, str]) -> None:
        self.reported.setdefault(name, ("timer", set(tags)))


class OneTask:
    dag_id, task_id = "gallery", "paint"


def told_of_everything() -> dict[str, tuple[str, set[str]]]:
    stats = Recorded()
    metrics = JobMetrics(lambda: stats, OneTask, "m")
    metrics.submitted()
    metrics.reattached("ledger")
    metrics.reused()
    metrics.failed(KandinskyError("it broke"))
    metrics.completed(
        GenerationResult("r", (Image("https://i/1"),), cost=0.01, inference_time=1, queue_time=1, polls=1)
    )
    return {name: reported for name, reported in stats.reported.items() if name in set(Metric)}


def test_the_table_of_metrics_is_whole_and_true() -> None:
    table = {
        name.strip("`"): (kind, set(re.findall(r"`(\w+)`", tags))) for name, kind, *_, tags in rows(PAGE, "Metrics")
    }
    common = {"dag_id", "task_id", "model"}
    assert {name: (kind, tags | common) for name, (kind, tags) in table.items()} == told_of_everything()
    assert table.keys() == set(Metric)


def test_the_table_of_the_facet_is_whole() -> None:
    facet = facets(Lineage(None, None, [], []), with_prompts=False).run_facets["kandinsky"]
    fields = {name for name in facet.__slots__ if not name.startswith("_")}
    assert {row[0].strip("`") for row in rows(PAGE, "Lineage")} == fields


def lines() -> Iterator[str]:
    for row in rows(PAGE, "Log lines"):
        yield row[0].strip("`")


@pytest.mark.parametrize("line", list(lines()))
def test_log_lines_are_the_codes(line: str) -> None:
    pattern = ".*?".join(map(re.escape, line.split("…")))
    assert any(re.search(pattern, sentence) for sentence in sentences())
