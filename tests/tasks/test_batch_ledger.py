"""How the record of a batch is kept: in values that Airflow does not warn of, and that other versions can read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from task_instance import TaskInstance

from airflow_provider_kandinsky.batch.ledger import BatchEntry, BatchLedger

#: What Airflow lets a value have before it warns.
LARGEST = 65_535


def entry(number: int, size: int = 100, **more: Any) -> BatchEntry:
    made: dict[str, Any] = {"intended_at": 1.0, "request_id": f"r{number}", "result": {"urls": ["u" * size]}}
    return BatchEntry(**{"key": f"k{number}", "try_number": 1, "max_tries": 2} | made | more)


def read(ti: TaskInstance) -> BatchLedger:
    return BatchLedger.read(ti.context, durable=True)


#: 2 500 are eight stored images, with their URLs and their URIs.
@pytest.mark.parametrize("size", [100, 2_500, 30_000, 70_000])
def test_no_value_is_larger_than_airflow_likes(ti: TaskInstance, size: int) -> None:
    ledger = read(ti)
    for number in range(100):
        ledger.put(entry(number, size))
        ledger.write()
    values = [(len(value), len(json.dumps(value))) for value in ti.store.values.values()]
    assert all(length <= LARGEST or entries == 1 for entries, length in values)
    again = read(ti)
    assert [again.get(f"k{number}") for number in range(100)] == [entry(number, size) for number in range(100)]
    assert sum(1 for _ in again) == 100


def test_a_worker_that_dies_between_the_halves_loses_nothing(ti: TaskInstance) -> None:
    ledger = read(ti)
    for number in range(30):
        ledger.put(entry(number, 1_000))
    ledger.write()
    before = dict(ti.store.values)
    for number in range(30):
        ledger.put(entry(number, 3_000))
    ledger.write()
    # As if the last of the writes had not been made: what has moved is in both.
    ti.store.values["kandinsky_batch_0001"] = before["kandinsky_batch_0001"]
    again = read(ti)
    assert sorted(each.request_id or "" for each in again) == sorted(f"r{number}" for number in range(30))


def test_what_a_later_version_has_added_is_left_out(ti: TaskInstance) -> None:
    ledger = read(ti)
    ledger.put(entry(1))
    ledger.write()
    ti.store.values["kandinsky_batch_0001"][0]["of_a_later_version"] = 1
    assert read(ti).get("k1") == entry(1)


def test_what_is_reset_is_wanted_and_its_job_stays_known(ti: TaskInstance) -> None:
    ledger = read(ti)
    ledger.put(entry(1))
    ledger.put(entry(2, request_id=None, result=None))
    ledger.reset("k1")
    ledger.reset("k2")
    ledger.write()
    again = read(ti)
    assert again.get("k1") is again.get("k2") is None
    assert again.known_ids("k1") == ["r1"]
    assert again.known_ids("k2") == ()
