"""The ledger where ``ledger_path`` says: no entry of another's, none outside the folder, and none that is cut short."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kandinsky.durable.ledger import JobLedger
from airflow_provider_kandinsky.durable.object_store import ObjectStore
from airflow_provider_kandinsky.durable.stores import _warn_of_no_store, ledger_store_for
from airflow_provider_kandinsky.exceptions import ConfigurationError, JobTimeoutError, LedgerError
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.ledger_in_files import NAMES
from ..support.task_instance import FakeTaskInstance, MemoryStore, cats, paint, paint_all

if TYPE_CHECKING:
    from s3fs import S3FileSystem

KEY = "kandinsky_job"


class WithoutStore(FakeTaskInstance):
    """As before Airflow 3.3."""

    @property
    def context(self) -> Any:
        return {"ti": self, "task": self.wanted_by, "dag_run": self}


@pytest.fixture
def old() -> WithoutStore:
    return WithoutStore()


def file_of(folder: Path, key: str = KEY) -> Path:
    return folder / "gallery" / "manual__1" / "paint" / "-1" / f"{key}.json"


def store_in(folder: Path, **names: str | int) -> ObjectStore:
    return ObjectStore(folder.as_uri(), NAMES | names)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def connected(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the connection names."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(ledger_path=folder.as_uri()))
    return folder


# Where.


def test_a_file_says_whose_it_is(tmp_path: Path) -> None:
    store_in(tmp_path).set(KEY, {"request_id": "r"})
    assert files_in(tmp_path) == [file_of(tmp_path)]
    assert json.loads(file_of(tmp_path).read_text()) == {**NAMES, "key": KEY, "value": {"request_id": "r"}}
    assert store_in(tmp_path).get(KEY) == {"request_id": "r"}


ANY_NAME = st.text(max_size=300) | st.sampled_from(
    ["..", "../..", "/etc", ".", "", "a/../../b", "{key}", "%2e%2e", "~"]
)


@given(st.tuples(ANY_NAME, ANY_NAME, ANY_NAME), st.tuples(ANY_NAME, ANY_NAME, ANY_NAME))
def test_whatever_ids_hold_their_files_are_below_the_folder_and_no_others(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    def path(ids: tuple[str, ...]) -> str:
        names = dict(zip(("dag_id", "run_id", "task_id"), ids, strict=True)) | {"map_index": -1}
        return ObjectStore("file:///ledger", names)._path(KEY).path

    assert path(one).startswith("/ledger/")
    assert ".." not in path(one).split("/")
    assert len(path(one).split("/")) == 7
    assert all(len(part) <= 205 for part in path(one).split("/"))
    assert (path(one) == path(other)) == (one == other)


def test_the_entries_of_task_instances_are_apart(tmp_path: Path) -> None:
    others = [{"dag_id": "a"}, {"run_id": "a"}, {"task_id": "a"}, {"map_index": 0}]
    for number, names in enumerate(others):
        store_in(tmp_path, **names).set(KEY, number)
    assert [store_in(tmp_path, **names).get(KEY) for names in others] == [0, 1, 2, 3]
    assert store_in(tmp_path).get(KEY) is None


@pytest.mark.parametrize("path", ["ledger", "/tmp", "no-such-scheme://x", ""])
def test_what_is_no_uri_of_a_storage_is_refused_before_anything_is_submitted(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ledger_path='.*Nothing was submitted"):
        ObjectStore(path, NAMES)


# Not known is not gone.


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe\x00", b"[" * 100_000, b" " * (2**20 + 1)],
    ids=["empty", "cut off", "a list", "nothing in it", "null", "binary", "deep", "large"],
)
def test_a_damaged_file_is_not_an_absent_one(tmp_path: Path, content: bytes) -> None:
    store_in(tmp_path).set(KEY, {})
    file_of(tmp_path).write_bytes(content)
    with pytest.raises(LedgerError, match=r"is damaged .*so it is not known what this task has already submitted"):
        store_in(tmp_path).get(KEY)


@pytest.mark.parametrize(
    "names", [{"dag_id": "Gallery"}, {"map_index": "-1"}, {"key": "kandinsky_batch"}, {"value": None}]
)
def test_the_file_of_another_is_not_believed(tmp_path: Path, names: Mapping[str, Any]) -> None:
    store_in(tmp_path).set(KEY, {"request_id": "r"})
    file = file_of(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()) | names))
    with pytest.raises(LedgerError, match="is damaged"):
        store_in(tmp_path).get(KEY)


@pytest.mark.parametrize(
    "field",
    [
        {"request_id": "two words"},
        {"request_id": 7},
        {"intended_at": "yesterday"},
        {"submitted_at": float("nan")},
        {"send_by": [1]},
        {"max_tries": "2"},
        {"fingerprint": 7},
        {"earlier_ids": [None]},
        {"arguments": "all"},
        {"request_id": None, "submitted_at": None, "intended_at": None},
    ],
    ids=str,
)
def test_a_record_whose_fields_cannot_be_is_none(tmp_path: Path, field: Mapping[str, Any]) -> None:
    good = {"fingerprint": "f", "intended_at": 1.0, "max_tries": 2, "request_id": "r", "submitted_at": 2.0}
    store_in(tmp_path).set(KEY, good)
    assert JobLedger(store_in(tmp_path)).read().record is not None
    store_in(tmp_path).set(KEY, good | field)
    with pytest.raises(LedgerError, match=r"The ledger in file:.*/gallery/manual__1/paint/-1 could not be read"):
        JobLedger(store_in(tmp_path)).read()


def test_a_folder_that_is_not_mounted_is_not_an_empty_one(tmp_path: Path) -> None:
    store = store_in(tmp_path / "mount")
    for use in (lambda: store.get(KEY), lambda: store.set(KEY, {})):
        with pytest.raises(LedgerError, match=r"The folder of ledger_path, .*mount, does not exist here"):
            use()
    assert files_in(tmp_path) == []


def test_a_file_that_may_not_be_read_is_not_an_absent_one(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir(parents=True)  # as root, permissions keep nobody from reading
    with pytest.raises(LedgerError, match="could not be read"):
        store_in(tmp_path).get(KEY)


def test_a_bucket_that_is_not_there_takes_no_intent(s3: S3FileSystem) -> None:
    store = ObjectStore("s3://moto@nowhere/ledger", NAMES)
    with pytest.raises(FileNotFoundError):
        store.set(KEY, {})
    assert not s3.exists("nowhere")


def test_an_s3_out_of_reach_is_not_an_empty_one(s3: S3FileSystem) -> None:
    from airflow.sdk.io import attach
    from s3fs import S3FileSystem

    away = S3FileSystem(
        key="k",
        secret="s",
        endpoint_url="http://127.0.0.1:9",
        skip_instance_cache=True,
        config_kwargs={"retries": {"total_max_attempts": 1}},
    )
    attach("s3", conn_id="away", fs=away)
    with pytest.raises(LedgerError, match="could not be read"):
        ObjectStore("s3://away@pictures/ledger", NAMES).get(KEY)


# As a whole or not at all.


def test_a_write_that_is_cut_short_leaves_what_was_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.set(KEY, {"request_id": "r"})
    with pytest.raises(TypeError):
        store.set(KEY, {"request_id": object()})
    assert store.get(KEY) == {"request_id": "r"}
    store.set(KEY, {"request_id": "s"})
    assert files_in(tmp_path) == [file_of(tmp_path)]  # nothing unfinished is left


def test_deleting_what_is_not_there_is_nothing(tmp_path: Path, s3: S3FileSystem) -> None:
    for store in (store_in(tmp_path), ObjectStore("s3://moto@pictures/ledger", NAMES)):
        store.delete(KEY)
        store.set(KEY, {})
        store.delete(KEY)
        assert store.get(KEY) is None


# Of a task.


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.usefixtures("connected")
def test_without_a_task_state_store_a_retry_re_attaches(sandbox: Sandbox, old: WithoutStore, deferrable: bool) -> None:
    sandbox.configure(latency=60)
    with pytest.raises(JobTimeoutError, match="A retry re-attaches to it"):
        old.run(paint(timeout=0.1, deferrable=deferrable))
    old.retry()
    sandbox.configure(latency=0)
    with pytest.raises(JobTimeoutError):
        old.run(paint(timeout=0.1, deferrable=deferrable))
    assert len(sandbox.submissions) == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.usefixtures("connected")
def test_without_a_task_state_store_a_batch_is_submitted_once(
    sandbox: Sandbox, old: WithoutStore, deferrable: bool
) -> None:
    for _ in range(2):
        rows = old.run(paint_all(cats(30), max_in_flight=20, deferrable=deferrable))
        assert [row["error"] for row in rows] == [None] * 30
        old.retry()
    assert len(sandbox.submissions) == 30


def test_the_configuration_names_a_folder_for_all_connections(
    sandbox: Sandbox, old: WithoutStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KANDINSKY__LEDGER_PATH", tmp_path.as_uri())
    assert old.run(paint()) == old.run(paint())
    assert files_in(tmp_path) == [file_of(tmp_path)]
    assert len(sandbox.submissions) == 1


def test_the_connections_own_folder_goes_before_the_configurations(
    sandbox: Sandbox, old: WithoutStore, connected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KANDINSKY__LEDGER_PATH", (tmp_path / "nowhere").as_uri())
    old.run(paint())
    assert files_in(connected)


def test_the_folder_goes_before_the_task_state_store_which_is_still_read(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ledger_path`` was set while the task was under way."""
    ti.store = MemoryStore()
    first = ti.run(paint())
    before = json.dumps(ti.store.values)
    monkeypatch.setenv("AIRFLOW__KANDINSKY__LEDGER_PATH", tmp_path.as_uri())
    assert ti.run(paint()) == first
    ti.run(paint(prompt="a dog"))
    assert json.dumps(ti.store.values) == before
    assert files_in(tmp_path) == [file_of(tmp_path)]
    assert len(sandbox.submissions) == 2


def test_a_task_state_store_that_is_cleared_on_success_costs_no_second_image(
    sandbox: Sandbox, ti: FakeTaskInstance, connected: Path
) -> None:
    ti.store = MemoryStore()
    first = ti.run(paint())
    ti.store.values.clear()
    ti.clear()
    assert ti.run(paint()) == first
    assert len(sandbox.submissions) == 1


def test_a_generation_takes_one_read_and_two_writes(sandbox: Sandbox, tmp_path: Path) -> None:
    """What docs/connection.md says of the cost."""
    calls: list[str] = []

    class Counting(ObjectStore):
        def get(self, key: str) -> Any:
            calls.append(f"get {key}")
            return super().get(key)

        def set(self, key: str, value: Any) -> None:
            calls.append(f"set {key}")
            super().set(key, value)

    ti = FakeTaskInstance()
    ti.store = Counting(tmp_path.as_uri(), NAMES)  # type: ignore[assignment]  # as much of one as is used
    ti.run(paint(deferrable=True))
    assert calls == [f"get {KEY}", f"set {KEY}", f"set {KEY}"]


def test_without_durable_no_folder_is_read(sandbox: Sandbox, old: WithoutStore, connected: Path) -> None:
    old.run(paint(durable=False))
    assert files_in(connected) == []


def test_with_a_folder_nothing_is_warned_of(
    old: WithoutStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_of_no_store.cache_clear()
    assert ledger_store_for(old.context, durable=True, ledger_path=tmp_path.as_uri())
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        assert ledger_store_for(old.context, durable=True) is None
    assert len(caplog.records) == 1


def test_iterations_of_a_task_loop_share_no_file(old: WithoutStore, tmp_path: Path) -> None:
    class Loop:
        index = 3

    store = ledger_store_for(old.context | {"loop": Loop()}, durable=True, ledger_path=tmp_path.as_uri())
    assert store is not None
    store.set(KEY, 1)
    assert files_in(tmp_path) == [file_of(tmp_path, f"{KEY}_iteration_3")]
    assert store.get(KEY) == 1
