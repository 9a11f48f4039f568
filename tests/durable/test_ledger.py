"""What a task instance records of a submission, and what a later try, or a later version, reads of it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_kandinsky.durable.ledger import (
    JobLedger,
    LedgerError,
    argument_hashes,
    ledger_errors,
)
from airflow_provider_kandinsky.durable.policy import is_cleared
from airflow_provider_kandinsky.durable.records import JobRecord
from airflow_provider_kandinsky.durable.seeds import seed_from_names
from airflow_provider_kandinsky.durable.stores import _warn_of_no_store, ledger_store_for

from ..support.ledger_in_files import make_store
from ..support.task_instance import FakeTaskInstance, MemoryStore

KEY = "f" * 64
MEANT = JobRecord(KEY, 0, 2, intended_at=1_700_000_000.0, arguments={"prompt": "207fe2a0613b"})
MADE = replace(MEANT, request_id="r-1", submitted_at=1_700_000_001.0)
#: As 0.1.0 has left it in Airflow's database.
WRITTEN = {
    "fingerprint": "f" * 64,
    "arguments": {"prompt": "207fe2a0613b"},
    "intended_at": 1_700_000_000.0,
    "max_tries": 2,
    "request_id": "r-1",
    "submitted_at": 1_700_000_001.0,
}


@pytest.fixture(params=["task state store", "files", "s3"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    return make_store(request.param, request)


@pytest.fixture
def not_told_yet() -> None:
    _warn_of_no_store.cache_clear()


def write(store: MemoryStore | None, *records: JobRecord) -> JobLedger:
    ledger = JobLedger(store)
    for record in records:
        ledger.put(record)
        ledger.write()
    return ledger


def read(store: MemoryStore | None) -> JobRecord | None:
    return JobLedger(store).read().record


@pytest.mark.parametrize("record", [MEANT, MADE], ids=["meant", "made"])
def test_what_is_written_is_read(store: MemoryStore, record: JobRecord) -> None:
    write(store, record)
    store.values = json.loads(json.dumps(store.values))
    again = read(store)
    assert again is not None
    assert replace(again, submitted_at=record.submitted_at) == record


def test_it_is_kept_where_and_as_other_versions_read_it(store: MemoryStore) -> None:
    write(store, MADE)
    assert store.values == {"kandinsky_job": WRITTEN}


def test_what_a_submission_gave_takes_no_write(store: MemoryStore) -> None:
    written: list[Any] = []
    keep = store.set
    store.set = lambda key, value: (written.append(value), keep(key, value))[1]  # type: ignore[method-assign]
    result = {"urls": ["https://i/1"]}
    write(store, MEANT, MADE, replace(MADE, result=result), replace(MADE, error={"type": "JobFailedError"}))
    assert [value["request_id"] for value in written] == [None, "r-1"]


def test_an_entry_of_an_earlier_release_is_read(store: MemoryStore) -> None:
    store.values["kandinsky_job"] = WRITTEN
    assert read(store) == MADE


def test_what_was_not_submitted_leaves_what_was_there(store: MemoryStore) -> None:
    ledger = write(store, MEANT)
    ledger.reset(KEY)
    ledger.write()
    assert store.values == {}
    write(store, MADE)
    ledger = JobLedger(store).read()
    ledger.put(replace(MEANT, key="another"))
    ledger.write()
    assert store.values["kandinsky_job"]["request_id"] is None
    ledger.reset("another")
    ledger.write()
    assert store.values == {"kandinsky_job": WRITTEN}


def test_without_a_store_nothing_is_kept() -> None:
    ledger = write(None, MADE)
    assert read(None) is None
    assert not ledger.is_kept


def test_a_job_is_of_an_earlier_try_unless_this_one_is_resumed(store: MemoryStore) -> None:
    write(store, MADE)
    assert [JobLedger(store, 3).read(is_resumed=resumed).record for resumed in (False, True)] == [
        MADE,
        replace(MADE, try_number=3),
    ]


def test_a_clear_is_known_for_as_long_as_the_job_is(store: MemoryStore) -> None:
    write(store, MADE)
    ledger = JobLedger(store, 1, max_tries=5).read()
    ledger.put(replace(MADE, max_tries=5))
    ledger.write()
    assert ledger.record is not None
    assert is_cleared(ledger.record, ledger.max_tries)
    assert store.values == {"kandinsky_job": WRITTEN}


def test_the_job_of_a_deferral_need_not_be_the_recorded_one(store: MemoryStore) -> None:
    write(store, MADE)
    ledger = JobLedger(store, 1, 2).read(is_resumed=True)
    assert ledger.of_job("k", "r-1", 1.0) is ledger
    other = ledger.of_job("k", "r-2", 1.0)
    assert [(each.key, each.request_id, each.submitted_at) for each in other] == [("k", "r-2", 1.0)]
    assert not other.is_kept


def test_with_a_store_it_is_kept(store: MemoryStore) -> None:
    assert JobLedger(store).is_kept


def test_what_is_no_entry_is_not_nothing(store: MemoryStore) -> None:
    store.values["kandinsky_job"] = {"written": "by another program"}
    with pytest.raises(LedgerError, match=r"\(TypeError\), so it is not known"):
        JobLedger(store).read()


def test_a_store_out_of_reach_is_not_an_empty_one() -> None:
    class Unreachable(MemoryStore):
        def get(self, key: str) -> Any:
            raise ConnectionError("the API server is away")

    with pytest.raises(LedgerError) as caught:
        JobLedger(Unreachable()).read()
    assert str(caught.value) == (
        "The task state store could not be read (ConnectionError), so it is not known what this task has already "
        "submitted. Nothing was submitted; a retry reads it again"
    )
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_what_goes_well_is_left_alone() -> None:
    with ledger_errors(MemoryStore()):
        pass


def test_the_context_has_the_store(store: MemoryStore) -> None:
    context: Any = FakeTaskInstance().context | {"task_state_store": store}
    assert ledger_store_for(context, durable=True) is store
    ledger = JobLedger.of(context, ledger_store_for(context, durable=True))
    ledger.put(MADE)
    ledger.write()
    assert store.values == {"kandinsky_job": WRITTEN}


@pytest.mark.usefixtures("not_told_yet")
def test_without_durable_nothing_is_logged(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    context: Any = FakeTaskInstance().context | {"task_state_store": store}
    assert ledger_store_for(context, durable=False) is None
    assert not JobLedger.of(context, ledger_store_for(context, durable=False)).is_kept
    del context["task_state_store"]  # as before Airflow 3.3
    assert not JobLedger.of(context, ledger_store_for(context, durable=False)).is_kept
    assert caplog.records == []


@pytest.mark.usefixtures("not_told_yet")
def test_without_a_store_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    context = FakeTaskInstance().context
    del context["task_state_store"]  # as before Airflow 3.3
    ledgers = [JobLedger.of(context, ledger_store_for(context, durable=True)) for _ in range(3)]

    assert not any(ledger.is_kept for ledger in ledgers)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "This Airflow has no task state store (it came with 3.3), and ledger_path is not set: a retry cannot know what "
        "an earlier try has submitted, and submits it again. Set ledger_path in the connection's extra, or "
        "durable=False to say that you know."
    )


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ({"prompt": "1", "seed": "2"}, []),
        ({"prompt": "1", "seed": "3"}, ["seed"]),
        ({"seed": "3", "prompt": "2"}, ["prompt", "seed"]),
        ({"prompt": "1"}, ["seed"]),
        ({"prompt": "1", "seed": "2", "num_images": "4"}, ["num_images"]),
    ],
)
def test_which_arguments_have_changed(arguments: dict[str, str], changed: list[str]) -> None:
    assert replace(MADE, arguments={"prompt": "1", "seed": "2"}).changed(arguments) == changed


def test_hashes_are_the_same_in_every_version() -> None:
    """Else a retry after an upgrade would name arguments that nobody has changed."""
    assert argument_hashes("kandinsky2.1-txt2im", {"prompt": "a cat", "seed": 7}) == {
        "model": "dcac556171e1",
        "prompt": "207fe2a0613b",
        "seed": "7902699be42c",
    }


def test_seeds_are_the_same_in_every_version() -> None:
    """Else a retry after an upgrade would be for another image, and would pay for it."""
    assert seed_from_names("gallery", "manual__1", "paint", -1) == 749771842
    assert seed_from_names("gallery", "manual__1", "paint", 3) == 978617652
    assert seed_from_names("gallery", "manual__1", "paint", -1, "cats", 2) == 566347256


def test_seeds_differ_between_task_instances_and_items() -> None:
    seeds = {
        seed_from_names("dag", run, task, index, *item)
        for run in "ab"
        for task in "cd"
        for index in range(-1, 50)
        for item in [(), (1,), (2,)]
    }
    assert len(seeds) == 2 * 2 * 51 * 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_a_later_version_has_added_is_left_out(store: MemoryStore) -> None:
    store.values["kandinsky_job"] = WRITTEN | {"of_a_later_version": {"a": 1}}
    assert read(store) == MADE


def test_the_ids_of_before_stay_known() -> None:
    entry = replace(MADE, earlier_ids=("r-0",))
    assert entry.known_ids == ["r-0", "r-1"]
    assert replace(MEANT, earlier_ids=("r-0",)).known_ids == ["r-0"]
    many = [f"r-{number}" for number in range(100)]
    assert replace(MADE, request_id="r-100", earlier_ids=many).known_ids == [f"r-{number}" for number in range(51, 101)]


def test_a_job_that_was_not_found_is_noted(store: MemoryStore) -> None:
    write(store, MADE, replace(MADE, not_found=True))
    assert store.values["kandinsky_job"]["not_found"]
    assert read(store) == replace(MADE, not_found=True)
