"""Task loops (Airflow 3.4): iterations that share DAG, run, task and map index, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_kandinsky.durable.seeds import derive_seed
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.task_instance import FakeTaskInstance, MemoryStore, cats, paint, paint_all

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


class SharedStore(MemoryStore):
    """A backend for the task state store that was written before there were loops: it names what it keeps after the
    DAG, the run, the task and the map index."""


class Iteration(FakeTaskInstance):
    """A task instance in a loop; without an index of its own, one outside of loops."""

    def __init__(self, index: int | None = None, store: MemoryStore | None = None) -> None:
        super().__init__()
        self.index = index
        self.store = store or self.store

    @property
    def context(self) -> Any:
        return super().context | ({} if self.index is None else {"loop": SimpleNamespace(index=self.index)})


@both_ways
def test_each_iteration_has_a_seed_of_its_own_in_every_try(sandbox: Sandbox, deferrable: bool) -> None:
    for index in range(3):
        iteration = Iteration(index)
        iteration.run(paint(deferrable=deferrable, durable=False))
        iteration.retry()
        iteration.run(paint(deferrable=deferrable, durable=False))
    seeds = [submitted["payload"]["seed"] for submitted in sandbox.submissions]
    assert seeds[0::2] == seeds[1::2]
    assert len(set(seeds)) == 3
    assert derive_seed(Iteration().context) not in seeds


@both_ways
def test_each_iteration_submits_once_whatever_it_has_been_given(sandbox: Sandbox, deferrable: bool) -> None:
    """Also where a seed is given, so that all of them send the same."""
    store = SharedStore()
    pushed = []
    for index in range(3):
        iteration = Iteration(index, store)
        iteration.run(paint(deferrable=deferrable, seed=7))
        pushed.append(iteration.pushed["request_id"])
    assert len(set(pushed)) == len(sandbox.submissions) == 3

    for index in range(3):
        iteration = Iteration(index, store)
        iteration.retry()
        iteration.run(paint(deferrable=deferrable, seed=7))
        assert iteration.pushed["request_id"] == pushed[index]
    assert len(sandbox.submissions) == 3


def test_each_iteration_has_a_batch_of_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    store = SharedStore()
    for tries in range(2):
        for index in (None, 0, 1):
            iteration = Iteration(index, store)
            iteration.try_number += tries
            iteration.run(paint_all(cats(2), output_path=f"file://{tmp_path}"))
    seeds = [submitted["payload"]["seed"] for submitted in sandbox.submissions]
    assert len(seeds) == len(set(seeds)) == 6
    manifests = [path.read_text().splitlines() for path in tmp_path.glob("manifest_*")]
    assert len(manifests) == 3
    assert len({json.loads(line)["request_id"] for lines in manifests for line in lines}) == 6


def test_outside_of_loops_all_names_are_those_of_before(sandbox: Sandbox, tmp_path: Path) -> None:
    one, many = Iteration(), Iteration()
    one.run(paint())
    many.run(paint_all(cats(1), output_path=f"file://{tmp_path}"))
    assert derive_seed(one.context) == 749771842
    assert set(one.store.values) == {"kandinsky_job"}
    assert {"kandinsky_batch", "kandinsky_batch_requests", "kandinsky_batch_0001"} <= set(many.store.values)
    assert many.pushed["manifest"].endswith("/manifest_gallery_manual__1_paint.jsonl")
