"""How the record of a batch is kept: in values that Airflow does not warn of, and that other versions can read."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest

from airflow_provider_kandinsky.batch.closed import Closed
from airflow_provider_kandinsky.batch.ledger import BatchLedger
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.durable.stores import ledger_store_for
from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, Image, TextToImageRequest

from ..support.ledger_in_files import make_store
from ..support.task_instance import FakeTaskInstance, MemoryStore

#: What Airflow lets a value have before it warns.
LARGEST = 65_535


def entry(number: int, size: int = 100, **more: Any) -> JobRecord:
    made: dict[str, Any] = {"intended_at": 1.0, "request_id": f"r{number}", "result": {"urls": ["u" * size]}}
    known: dict[str, Any] = {"key": f"k{number}", "try_number": 1, "max_tries": 2} | made | more
    return JobRecord(**known)


@pytest.fixture(params=["task state store", "files", "s3"])
def ti(request: pytest.FixtureRequest) -> FakeTaskInstance:
    ti = FakeTaskInstance()
    ti.store = make_store(request.param, request)
    return ti


def read(ti: FakeTaskInstance) -> BatchLedger:
    return BatchLedger.read(ti.context, ledger_store_for(ti.context, durable=True), {})


#: 2 500 are eight stored images, with their URLs and their URIs.
@pytest.mark.parametrize("size", [100, 2_500, 30_000, 70_000])
def test_no_value_is_larger_than_airflow_likes(ti: FakeTaskInstance, size: int) -> None:
    ledger = read(ti)
    # What is kept in files is divided as all else is, and each write takes much longer.
    entries = 100 if type(ti.store) is MemoryStore else 50
    for number in range(entries):
        ledger.put(entry(number, size))
        ledger.write()
    values = [(len(value), len(json.dumps(value))) for value in ti.store.values.values()]
    assert all(length <= LARGEST or number == 1 for number, length in values)
    again = read(ti)
    assert [again.get(f"k{number}") for number in range(entries)] == [entry(number, size) for number in range(entries)]
    assert sum(1 for _ in again) == entries


def test_a_worker_that_dies_between_the_halves_loses_nothing(ti: FakeTaskInstance) -> None:
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


def test_what_has_moved_on_is_not_read_as_it_once_was(ti: FakeTaskInstance) -> None:
    """A worker died between the halves, and the first chunk, in which nothing else changed, was closed since."""
    ledger = read(ti)
    for number in range(30):
        ledger.put(entry(number))
    ledger.write()
    moved = ti.store.values["kandinsky_batch_0001"][20:]
    ti.store.values["kandinsky_batch_0002"] = [each | {"uris": ["stored since"]} for each in moved]
    ti.store.values["kandinsky_batch_closed"] = Closed(1, chunks=1, ranges=((0, 19),)).to_dict()

    again = BatchLedger.read(ti.context, ledger_store_for(ti.context, durable=True), {}, is_resumed=True)
    again.read_all()

    assert again.get("k25") == entry(25, uris=["stored since"])
    assert sum(1 for _ in again) == 30


def test_ids_that_cannot_be_recorded_are_in_the_log(ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryStore):
        def set(self, key: str, value: Any) -> None:
            raise ConnectionError

    ti.store = Away()
    ledger = read(ti)
    ledger.put(entry(1, result=None))
    ledger.put(entry(2))
    with pytest.raises(ConnectionError):
        ledger.write()
    assert "it may lack these requests: r1" in caplog.text


def test_what_a_later_version_has_added_is_left_out(ti: FakeTaskInstance) -> None:
    ledger = read(ti)
    ledger.put(entry(1))
    ledger.write()
    ti.store.values["kandinsky_batch_0001"][0]["of_a_later_version"] = 1
    assert read(ti).get("k1") == entry(1)


def test_what_is_reset_is_wanted_and_its_job_stays_known(ti: FakeTaskInstance) -> None:
    ledger = read(ti)
    ledger.put(entry(1))
    ledger.put(entry(2, request_id=None, result=None))
    ledger.reset("k1")
    ledger.reset("k2")
    ledger.write()
    again = read(ti)
    assert again.get("k1") is again.get("k2") is None
    assert again.open_record("k1").earlier_ids == ["r1"]
    assert again.open_record("k2").earlier_ids == ()


# Not in files, whose stand-in compares all that it holds at each read.
@pytest.mark.parametrize("ti", ["task state store"], indirect=True)
@pytest.mark.heavy  # thousands of items
def test_a_wave_of_a_large_batch_reads_only_what_is_not_done(ti: FakeTaskInstance) -> None:
    """4 000 items have 100 chunks, and there are 50 waves: read whole by each, that were 2 500 reads and more."""
    requests = [TextToImageRequest(prompt=str(number), seed=number) for number in range(4_000)]
    items = [Item(f"k{place}", request, (place,)) for place, request in enumerate(requests)]
    metrics = JobMetrics.of_task(ti)
    reads: list[str] = []
    get = ti.store.get

    def count(key: str) -> Any:
        reads.append(key)
        return get(key)

    ti.store.get = count  # type: ignore[method-assign]  # to count the reads
    waves = 0
    while True:
        ledger = BatchLedger.read(ti.context, ledger_store_for(ti.context, durable=True), {}, is_resumed=waves > 0)
        state = BatchState(items, ledger, metrics)
        if not (wave := list(islice(state.wanted, 80))):
            break
        for item in wave:
            state.note_intent(item, 1.0, 2.0)
            state.record_submitted(item, f"r-{item.key}", 1.0)
            state.note_result(item, GenerationResult(f"r-{item.key}", (Image(url="http://a"),), cost=0.01))
        state.write()
        state.close_done(lambda _: True)
        assert state.progress()["succeeded"] == (waves + 1) * 80
        assert state.cost() == pytest.approx((waves + 1) * 0.8)
        waves += 1

    assert waves == 50
    assert len(reads) < 50 * 15
    state.reopen()
    assert [each.request_id for _, each in state.records()] == [f"r-k{number}" for number in range(4_000)]
    assert len(state.known_ids()) == 4_000
    assert state.cost() == pytest.approx(40.0)


def test_what_is_not_done_is_not_left(ti: FakeTaskInstance) -> None:
    ledger = read(ti)
    items = [Item(f"k{place}", TextToImageRequest(prompt="a cat"), (place,)) for place in range(2_000)]
    for place in range(2_000):
        ledger.put(entry(place, **({"result": None} if place == 100 else {})))
    ledger.write()
    state = BatchState(items, ledger, JobMetrics.of_task(ti))
    state.close_done(lambda _: True)
    assert ledger.closed.chunks == 2
    assert [item.key for item, _ in state.in_flight()] == ["k100"]
    ledger.put(entry(2_000))
    ledger.write()
    assert sum(len(value) for value in ti.store.values.values() if isinstance(value, list)) == 2_001


def test_what_is_in_flight_of_changed_requests_is_not_left(ti: FakeTaskInstance) -> None:
    """It is paid for, and waited for until it is over."""
    ledger = read(ti)
    items = [Item(f"k{place}", TextToImageRequest(prompt="a cat"), (place,)) for place in range(2_000)]
    ledger.put(entry(2_000, result=None))
    for place in range(2_000):
        ledger.put(entry(place))
    ledger.write()
    state = BatchState(items, ledger, JobMetrics.of_task(ti))
    state.close_done(lambda _: True)
    assert [record.request_id for _, record in state.in_flight()] == ["r2000"]
    ledger.put(entry(2_000))
    ledger.write()
    state.close_done(lambda _: True)
    assert ledger.closed.chunks > 25


@pytest.mark.parametrize("ranges", [[(0, 2), (5, 5)], []])
def test_ranges_of_closed_items_grow_together(ranges: list[tuple[int, int]]) -> None:
    closed = Closed(1, ranges=tuple(ranges))
    assert closed.ranges_with([3, 4]) == (((0, 5),) if ranges else ((3, 4),))
    assert Closed.from_dict(json.loads(json.dumps(closed.to_dict()))) == closed
    assert closed.ranges_with(range(0, 10_000, 2)) is None
