"""A claim counts for as long as it says, whatever the clocks of the others say and whatever is written in it."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.results.claims import MAX_DURATION, Claims

NOW = 1_800_000_000.0
#: What a task with ``timeout=900`` claims, with the margin.
LASTS = 1800.0


class Clock:
    def __init__(self, ahead: float = 0) -> None:
        self.now = NOW + ahead

    def __call__(self) -> float:
        return self.now


def of(owner: str, clock: Clock) -> Claims:
    return Claims(owner, 900, clock=clock)


@pytest.fixture
def entry(tmp_path: Path) -> ObjectStoragePath:
    (tmp_path / "ab").mkdir()
    return ObjectStoragePath(f"file://{tmp_path}/ab/abcd.json")


def claim_file(tmp_path: Path) -> Path:
    return tmp_path / "ab" / "abcd.claim1"


@pytest.mark.parametrize("ahead", [-3600, -600, 0, 600])
def test_a_claim_outlasts_clocks_that_differ(entry: ObjectStoragePath, ahead: float) -> None:
    assert of("one", Clock()).take(entry) is None
    clock = Clock(ahead)
    left = of("two", clock).take(entry)
    assert left is not None
    # At least until the other's timeout; and by a clock that is behind, for no longer than any claim lasts.
    assert 900 <= left <= LASTS
    clock.now += max(-ahead, 0) + left
    assert of("two", clock).take(entry) is None


def test_a_claim_of_a_far_future_ends(entry: ObjectStoragePath, tmp_path: Path) -> None:
    text = json.dumps({"owner": "one", "claimed_at": NOW + 10 * MAX_DURATION, "lasts": 900})
    claim_file(tmp_path).write_text(text)
    os.utime(claim_file(tmp_path), (NOW, NOW))
    assert of("two", Clock(50)).take(entry) == 10
    assert of("two", Clock(61)).take(entry) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "[" * 50_000,
        '{"owner": 7, "claimed_at": 1, "lasts": 1}',
        '{"owner": "one", "claimed_at": "soon", "lasts": 1}',
        '{"owner": "one", "claimed_at": NaN, "lasts": 1}',
        '{"owner": "one", "claimed_at": 1, "lasts": 1e999}',
        '{"owner": "one", "claimed_at": 1e999, "lasts": 1}',
    ],
)
def test_a_mangled_claim_ends_soon(entry: ObjectStoragePath, tmp_path: Path, text: str) -> None:
    claim_file(tmp_path).write_text(text)
    os.utime(claim_file(tmp_path), (NOW, NOW))
    assert of("two", Clock(50)).take(entry) == 10
    assert of("two", Clock(61)).take(entry) is None


@pytest.mark.parametrize("lasts", [1e12, "1e12"])
def test_no_claim_lasts_longer_than_any_may(entry: ObjectStoragePath, tmp_path: Path, lasts: Any) -> None:
    claim_file(tmp_path).write_text(json.dumps({"owner": "one", "claimed_at": NOW, "lasts": lasts}))
    assert of("two", Clock()).take(entry) == MAX_DURATION


def test_of_a_dead_owner_one_takes_over(entry: ObjectStoragePath, tmp_path: Path) -> None:
    assert of("dead", Clock()).take(entry) is None
    later = Clock(LASTS + 1)
    assert of("two", later).take(entry) is None
    left = of("three", later).take(entry)
    assert left == LASTS
    of("dead", later).release(entry)  # it was only slow: the claim is not its own any more
    assert of("three", later).take(entry) == left
    of("two", later).release(entry)
    assert list(claim_file(tmp_path).parent.iterdir()) == []


def test_of_many_that_find_an_owner_dead_one_takes_over(tmp_path: Path) -> None:
    threads = 8
    begin = Barrier(threads)

    def take(number: int, entry: ObjectStoragePath) -> bool:
        claims = Claims(str(number), 900)  # by the real clock, as of the file that another is about to write
        begin.wait()
        return claims.take(entry) is None

    with ThreadPoolExecutor(threads) as pool:
        for attempt in range(50):
            entry = ObjectStoragePath(f"file://{tmp_path}/{attempt}.json")
            assert Claims("dead", 900, clock=lambda: time.time() - LASTS).take(entry) is None
            assert sum(pool.map(take, range(threads), [entry] * threads)) == 1


def test_a_retry_has_the_claim_of_its_task(entry: ObjectStoragePath) -> None:
    assert of("one", Clock()).take(entry) is None
    later = Clock(LASTS - 1)
    assert of("one", later).take(entry) is None
    assert of("two", later).take(entry) == LASTS
