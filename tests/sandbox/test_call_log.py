"""Records, settings and resets: what a test reads and turns."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.call_log import CallLog
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox

from .fakes import MODEL, Caller


def test_submissions_are_what_was_accepted(kandinsky_sandbox: Sandbox, caller: Caller):
    before = time.time()
    job = caller.submit("a dog", samples="2")
    caller.post(None)
    (submission,) = kandinsky_sandbox.submissions
    assert before <= submission.pop("at") <= time.time()
    assert submission == {
        "request_id": job,
        "model": MODEL,
        "payload": {"prompt": "a dog", "samples": "2"},
        "call": "submit",
    }


def test_calls_are_found_by_name_and_job(kandinsky_sandbox: Sandbox, caller: Caller):
    first, second = caller.submit(), caller.submit()
    for job in (first, first, second):
        caller.status(job)
    caller.result(first)
    caller.credits()
    seen = [(call["call"], call["request_id"], call["status"]) for call in kandinsky_sandbox.calls()]
    assert seen == [
        ("submit", first, 200),
        ("submit", second, 200),
        ("status", first, 200),
        ("status", first, 200),
        ("status", second, 200),
        ("result", first, 200),
        ("credits", None, 200),
    ]
    assert len(kandinsky_sandbox.calls("status")) == kandinsky_sandbox.count_calls("status") == 3
    assert len(kandinsky_sandbox.calls("status", first)) == kandinsky_sandbox.count_calls("status", first) == 2
    assert kandinsky_sandbox.count_calls(request_id=first) == 4
    assert kandinsky_sandbox.count_calls("image") == 0


def test_keyed_calls_to_the_api_are_counted_apart_from_the_history(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(requests_per_minute=3)
    job = caller.submit()
    for call in (caller.status, caller.result, caller.status):
        call(job)
    caller.history()
    caller.http.get(f"/generations/{job}-0.png")
    assert kandinsky_sandbox.count_calls("api") == 4
    assert kandinsky_sandbox.count_calls("api", job) == 4
    assert kandinsky_sandbox.count_calls("api", status=429) == kandinsky_sandbox.count_calls("status", job, 429) == 1
    assert kandinsky_sandbox.count_calls("history") == 1
    assert kandinsky_sandbox.count_calls() == 6
    assert [call["call"] for call in kandinsky_sandbox.calls("api", status=200)] == ["submit", "status", "result"]


def test_keys_are_noted_as_there_or_not_but_never_kept(kandinsky_sandbox: Sandbox, caller: Caller):
    caller.http.headers["x-api-key"] = "SG_very_secret"
    caller.post()
    del caller.http.headers["x-api-key"]
    caller.post()
    calls = kandinsky_sandbox.calls()
    assert [(call["status"], call["key_present"]) for call in calls] == [(401, True), (401, False)]
    assert "secret" not in json.dumps([calls, kandinsky_sandbox.submissions])


def test_counting_takes_no_longer_with_a_hundred_thousand_calls():
    log = CallLog()
    for number in range(100_000):
        log.add(call="status", request_id=str(number % 1000), at=0.0, status=200, key_present=True)
    started = time.perf_counter()
    for number in range(10_000):
        assert len(log.find("status", str(number % 1000))) == 100
    assert time.perf_counter() - started < 20  # a search through all of them takes minutes


def test_many_at_once(kandinsky_sandbox: Sandbox, caller: Caller):
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda number: caller.submit(f"cat {number}"), range(100)))
        statuses = list(pool.map(lambda job: caller.status(job).json()["status"], jobs))
    assert statuses == ["COMPLETED"] * 100
    assert sorted(row["request_id"] for row in kandinsky_sandbox.submissions) == sorted(jobs)
    assert kandinsky_sandbox.count_calls("status") == 100


@pytest.mark.parametrize(
    "settings",
    [
        {"latnecy": 1},
        {"latency": -1},
        {"latency": (5, 2)},
        {"output_shape": "jpeg"},
        {"fault_rate": 2},
        {"api_keys": []},
    ],
)
def test_settings_that_make_no_sense_are_refused(kandinsky_sandbox: Sandbox, settings: dict):
    before = kandinsky_sandbox.settings
    with pytest.raises(ValueError, match=next(iter(settings))):
        kandinsky_sandbox.configure(expiry=1, **settings)
    assert kandinsky_sandbox.settings == before


@pytest.mark.parametrize("body", [b"{", b"[]", b"3"])
def test_what_is_no_object_is_refused_in_words(kandinsky_sandbox: Sandbox, body: bytes):
    for method, name in (("PATCH", "settings"), ("POST", "faults")):
        answer = httpx.request(method, f"{kandinsky_sandbox.url}/_sandbox/{name}", content=body)
        assert answer.status_code == 422
        assert answer.json()["error"]


def test_filling_up_the_account_while_it_runs(kandinsky_sandbox: Sandbox, caller: Caller):
    caller.submit()
    kandinsky_sandbox.configure(expiry=60)
    assert caller.credits()["credits"] == 99.99
    kandinsky_sandbox.configure(credits=0.01)
    caller.submit()
    assert caller.post().status_code == 406
    kandinsky_sandbox.configure(credits=5)
    assert caller.credits()["credits"] == 5


def test_a_reset_forgets_everything(kandinsky_sandbox: Sandbox, caller: Caller):
    job = caller.submit()
    kandinsky_sandbox.configure(price=3, requests_per_minute=1)
    kandinsky_sandbox.fault("submit", status=500)
    kandinsky_sandbox.reset()
    assert caller.status(job).status_code == 404
    assert caller.post().status_code == 200
    assert (kandinsky_sandbox.settings["price"], kandinsky_sandbox.settings["latency"]) == (0.01, 0)
    assert [call["call"] for call in kandinsky_sandbox.calls()] == ["status", "submit"]


def test_an_answer_held_across_a_reset_stays_in_its_own_life(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("submit", stall=0.3)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(caller.post)
        while httpx.get(f"{kandinsky_sandbox.url}/_sandbox/faults").json()["faults"]:
            assert not answer.done()  # it has not come in yet
        kandinsky_sandbox.reset()
        assert answer.result().status_code == 200
    assert kandinsky_sandbox.submissions == []
    assert kandinsky_sandbox.calls() == []


def test_the_connection_is_what_airflow_reads(kandinsky_sandbox: Sandbox):
    assert json.loads(kandinsky_sandbox.connection(requests_per_minute=5)) == {
        "conn_type": "kandinsky",
        "password": "SG_sandbox",
        "host": kandinsky_sandbox.url,
        "extra": {
            "history_url": f"{kandinsky_sandbox.url}/inference-request/request-history",
            "requests_per_minute": 5,
        },
    }


def test_a_sandbox_of_ones_own_stops_with_its_block_even_while_it_holds_an_answer(caplog):
    with ThreadPoolExecutor(1) as pool:
        with running_sandbox(api_keys=["SG_own"], latency=600) as sandbox:
            assert sandbox.api_key == "SG_own"
            caller = Caller(sandbox)
            blocked = pool.submit(caller.post, version="v1", timeout=60)
            while not sandbox.submissions:
                assert not blocked.done()
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 30
        with pytest.raises(httpx.TransportError):
            blocked.result()
    with pytest.raises(httpx.ConnectError):
        caller.http.get("/v1/get-user-credits")
    assert [record for record in caplog.records if record.name.startswith("uvicorn") and record.exc_info] == []
