"""What is stored of a large batch is found in an object store with few calls, and the single entries stay the truth."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.io import attach

from airflow_provider_kandinsky.results.file_states import file_states
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse import ReuseIndex

if TYPE_CHECKING:
    from s3fs import S3FileSystem

ROOT = "pictures/cats"
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(1000)]


@pytest.fixture
def counting(s3: S3FileSystem) -> Any:
    """The S3, by a file system that counts what it asks the service for."""
    from s3fs import S3FileSystem  # takes half a second

    class CountingS3(S3FileSystem):
        cachable = False

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.calls: Counter[str] = Counter()

        async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
            self.calls[method] += 1
            return await super()._call_s3(method, *args, **kwargs)

    fs = CountingS3(key="nobody", secret="none", endpoint_url=s3.endpoint_url, use_listings_cache=False)
    attach("s3", conn_id="counting", fs=fs)
    return fs


def entry_path(key: str) -> str:
    return f"{ROOT}/.kandinsky/{key[:2]}/{key}.json"


def entry(key: str, request_id: str | None = None) -> bytes:
    request_id = request_id or f"{key[::-1][:32]}"
    uris = [f"s3://{ROOT}/{request_id}-0.png"]
    return json.dumps({"request_id": request_id, "seed": 1, "cost": 0.01, "uris": uris, "sizes": [3]}).encode()


def index() -> ReuseIndex:
    """As another process has it."""
    return ReuseIndex(OutputPath("s3://counting@pictures/cats/{request_id}-{index}.{extension}"))


def test_a_large_batch_is_found_with_few_calls(counting: Any, caplog: pytest.LogCaptureFixture) -> None:
    counting.pipe({entry_path(key): entry(key) for key in KEYS})
    counting.pipe({f"{ROOT}/{key[::-1][:32]}-0.png": b"123" for key in KEYS})
    first = index()
    found = first.find(KEYS)
    assert set(found) == set(KEYS)
    assert found[KEYS[0]].uris == [f"s3://counting@{ROOT}/{KEYS[0][::-1][:32]}-0.png"]
    first.pack(KEYS)
    (pack,) = counting.find(f"{ROOT}/.kandinsky", prefix=min(KEYS)[:2] + "/" + min(KEYS) + ".pack")

    counting.calls.clear()
    second = index()
    assert second.find(KEYS) == found
    assert counting.calls["get_object"] == 1
    assert counting.calls["head_object"] == 0
    assert counting.calls.total() < 10
    counting.calls.clear()
    second.pack(KEYS)  # it is as it should be
    assert counting.calls.total() == 0

    # The single entries are the truth: one is replaced by another of the same size, one is gone.
    replaced, gone, without_file, mangled = KEYS[:4]
    counting.pipe(f"{ROOT}/{'f' * 32}-0.png", b"123")
    counting.pipe(entry_path(replaced), entry(replaced, "f" * 32))
    counting.rm_file(entry_path(gone))
    counting.rm_file(f"{ROOT}/{without_file[::-1][:32]}-0.png")
    counting.pipe(entry_path(mangled), b"{}")
    now = index().find(KEYS)
    assert set(KEYS) - set(now) == {gone, without_file, mangled}
    assert now[replaced].request_id == "f" * 32
    assert "is gone; submitting again" in caplog.text
    assert f"{mangled}.json is not an entry of the index" in caplog.text

    # Whatever is in a pack, it leads nowhere else.
    lines = [json.loads(line) for line in counting.cat_file(pack).splitlines()]
    hostile: list[Any] = ["file:///etc/passwd", "s3://pictures/dogs/1.png", f"s3://{ROOT}/../dogs/1.png", 7]
    for line, uri in zip(lines[4:8], hostile, strict=True):
        assert line[0] in now
        line[3]["uris"] = [uri]
    texts = [json.dumps(line) for line in lines] + ["", "[", "7", '["a"]', "[" * 50_000, '[[], 1, "", {}]']
    counting.pipe(pack, "\n".join(texts).encode() + b"\n\xff")
    caplog.clear()
    assert index().find(KEYS) == now
    assert "Not read: 11 lines of" in caplog.text
    assert "are no entries of the index; reading them one by one" in caplog.text


def test_files_among_very_many_others_are_asked_for_one_by_one(counting: Any) -> None:
    wanted = [f"{ROOT}/{number:02}" for number in range(100)]
    others = [f"{name}-{number}" for name in wanted for number in range(12)]
    counting.pipe(dict.fromkeys(wanted + others, b"1"))
    counting.calls.clear()
    assert set(file_states(counting, [*wanted, f"{ROOT}/none"], can_list=True)) == set(wanted)
    assert counting.calls["list_objects_v2"] < 5
    assert counting.calls["head_object"] > 90


@pytest.mark.parametrize(
    "name", ["{0:05}.png", "{0}/0.png", "same/beginning/{0}-{0}.png", "{0} [*]?#%.png", "x{0:0>90}"]
)
@pytest.mark.parametrize("folder", ["pictures", "pictures/a b"])
def test_lists_know_what_each_file_knows(counting: Any, folder: str, name: str) -> None:
    names = [f"{folder}/{name.format(number)}" for number in range(150)]
    counting.pipe({each: b"1" * number for number, each in enumerate(names)})
    absent = [f"{folder}/{name.format(number)}" for number in range(150, 170)]
    listed = file_states(counting, names + absent, can_list=True)
    assert listed == file_states(counting, names + absent, can_list=False)
    assert {path: state.size for path, state in listed.items()} == {each: size for size, each in enumerate(names)}
