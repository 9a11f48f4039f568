"""What goes wrong on demand, and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.faults import FaultPlan
from airflow_provider_kandinsky.sandbox.settings import Settings

from .fakes import Caller

LOST = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.mark.parametrize(("after", "accepted"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_replaced_answer_to_a_post(
    kandinsky_sandbox: Sandbox, caller: Caller, version: str, after: bool, accepted: int
):
    call = {"v1": "generate", "v2": "submit"}[version]
    kandinsky_sandbox.fault(call, status=502, body="<html>Bad Gateway</html>", after=after)
    answer = caller.post(version=version)
    assert (answer.status_code, answer.text) == (502, "<html>Bad Gateway</html>")
    assert answer.headers["content-type"].startswith("text/html")
    assert len(kandinsky_sandbox.submissions) == accepted
    assert caller.credits()["credits"] == pytest.approx(100 - 0.01 * accepted)
    assert caller.post(version=version).status_code == 200


@pytest.mark.parametrize(("after", "accepted"), [(False, 0), (True, 1)])
def test_a_dropped_connection(kandinsky_sandbox: Sandbox, caller: Caller, after: bool, accepted: int, caplog):
    kandinsky_sandbox.fault("submit", drop=True, after=after)
    with pytest.raises(LOST):
        caller.post()
    assert len(kandinsky_sandbox.submissions) == accepted
    (call,) = kandinsky_sandbox.calls("submit")
    assert call["status"] is None
    assert (call["request_id"] is not None) is after
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert caller.post().status_code == 200


@pytest.mark.parametrize(("after", "accepted"), [(False, 0), (True, 1)])
def test_a_stall_longer_than_the_clients_patience(
    kandinsky_sandbox: Sandbox, caller: Caller, after: bool, accepted: int
):
    kandinsky_sandbox.fault("submit", stall=30, after=after)
    with pytest.raises(httpx.ReadTimeout):
        caller.post(timeout=0.1)
    eventually(lambda: kandinsky_sandbox.count_calls("submit") == 1)
    assert len(kandinsky_sandbox.submissions) == accepted


@pytest.mark.parametrize("after", [False, True])
def test_a_stall_that_the_client_sits_out(kandinsky_sandbox: Sandbox, caller: Caller, after: bool):
    kandinsky_sandbox.fault("submit", stall=0.2, after=after)
    answer = caller.post()
    assert answer.elapsed.total_seconds() >= 0.2
    assert [row["request_id"] for row in kandinsky_sandbox.submissions] == [answer.json()["request_id"]]


def test_a_stall_can_end_in_an_error(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("credits", stall=0.2, status=504, body="<html>")
    answer = caller.http.get("/v1/get-user-credits")
    assert answer.status_code == 504
    assert answer.elapsed.total_seconds() >= 0.2


def eventually(condition: Callable[[], bool], patience: float = 5) -> None:
    """The server learns a moment later than the client that the client is gone."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_call_has_its_own_faults_and_they_wear_off(kandinsky_sandbox: Sandbox, caller: Caller):
    job = caller.submit()
    kandinsky_sandbox.fault("status", times=2, status=500)
    kandinsky_sandbox.fault("result", status=404)
    kandinsky_sandbox.fault("history", status=503)
    kandinsky_sandbox.fault("image", drop=True)
    assert [caller.status(job).status_code for _ in range(3)] == [500, 500, 200]
    assert [caller.result(job).status_code for _ in range(2)] == [404, 200]
    assert [caller.history().status_code for _ in range(2)] == [503, 200]
    with pytest.raises(LOST):
        caller.http.get(f"/generations/{job}-0.png")
    assert caller.http.get(f"/generations/{job}-0.png").status_code == 200


def test_any_call_can_be_meant(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("*", times=2, status=503)
    assert [caller.history().status_code, caller.post().status_code, caller.post().status_code] == [503, 503, 200]


def test_faults_happen_in_the_order_they_were_asked_for(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("submit", status=500)
    kandinsky_sandbox.fault("*", status=501)
    kandinsky_sandbox.fault("submit", status=502)
    assert [caller.post().status_code for _ in range(4)] == [500, 501, 502, 200]


def test_bodies_are_json_or_text_as_it_is(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("credits", body='{"credits": 1')
    kandinsky_sandbox.fault("credits", status=429, body={"error": "slow down"}, headers={"Retry-After": "7"})
    kandinsky_sandbox.fault("credits", status=500)
    kandinsky_sandbox.fault("credits", body="", status=200)
    broken, limited, bare, empty = (caller.http.get("/v1/get-user-credits") for _ in range(4))
    assert (broken.status_code, broken.text) == (200, '{"credits": 1')
    assert broken.headers["content-type"] == "application/json"
    assert (limited.json(), limited.headers["retry-after"]) == ({"error": "slow down"}, "7")
    assert (bare.status_code, bare.json()) == (500, {"error": "Internal Server Error"})
    assert (empty.status_code, empty.text) == (200, "")


def test_headers_alone_are_put_on_the_real_answer(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("submit", headers={"x-odd": "1"})
    answer = caller.post()
    assert (answer.status_code, answer.headers["x-odd"]) == (200, "1")


def test_rows_of_the_history_can_change_and_go_missing(kandinsky_sandbox: Sandbox, caller: Caller):
    failed, other = caller.submit("[fail]"), caller.submit(samples=2)
    early = {"model_status": "COMPLETED", "error": None, "generation_url": "http://127.0.0.1/soon.png"}
    kandinsky_sandbox.fault("history", times=2, rows={failed: early, other: None})
    real = caller.http.get(f"/inference-request/request-history/{other}")
    assert real.status_code == 404
    (row,) = caller.history().json()["data"]
    assert (row["request_id"], row["generation_url"]) == (failed, early["generation_url"])
    assert [(row["request_id"], row["model_status"]) for row in caller.history().json()["data"]] == [
        (other, "COMPLETED"),
        (other, "COMPLETED"),
        (failed, "FAILED"),
    ]


@pytest.mark.parametrize("container", ["requests", None])
def test_rows_change_in_any_container(kandinsky_sandbox: Sandbox, caller: Caller, container: str | None):
    job = caller.submit()
    kandinsky_sandbox.configure(history_container=container)
    kandinsky_sandbox.fault("history", times=2, rows={job: {"model_status": "FAILED"}})
    body = caller.history().json()
    assert [row["model_status"] for row in (body if container is None else body[container])] == ["FAILED"]
    assert caller.http.get(f"/inference-request/request-history/{job}").json()["model_status"] == "FAILED"


def test_faults_can_be_called_off(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.fault("submit", times=100, status=500)
    assert caller.post().status_code == 500
    kandinsky_sandbox.clear_faults()
    assert caller.post().status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"call": "poll", "status": 500},
        {"call": "submit"},
        {"call": "submit", "status": 500, "times": 0},
        {"call": "submit", "rows": {"r": None}},
        {"call": "history", "status": 200, "rows": {"r": None}},
    ],
)
def test_a_fault_that_cannot_happen_is_refused(kandinsky_sandbox: Sandbox, fault: dict):
    with pytest.raises(ValueError):
        kandinsky_sandbox.fault(**fault)


def storm(call: str = "submit", *, answers: int = 2000, **settings) -> list[str]:
    plan, opening = FaultPlan(), Settings(**settings)
    faults = [plan.take(call, opening) for _ in range(answers)]
    return [
        "calm" if fault is None else f"{'drop' if fault.drop else fault.status} {'after' if fault.after else 'before'}"
        for fault in faults
    ]


def test_a_storm_is_the_same_for_the_same_seed():
    assert storm(fault_rate=0.3, seed=1) == storm(fault_rate=0.3, seed=1)
    assert storm(fault_rate=0.3, seed=1) != storm(fault_rate=0.3, seed=2)


def test_a_storm_hits_its_share_in_every_way():
    weather = storm(fault_rate=0.3)
    assert 0.25 < 1 - weather.count("calm") / len(weather) < 0.35
    kinds = {f"{kind} {when}" for kind in ("500", "502", "200", "drop") for when in ("before", "after")}
    assert set(weather) == {"calm", "429 before"} | kinds
    assert set(storm("status", fault_rate=1)) == {"429 before", "500 before", "502 before", "200 before", "drop before"}
    assert set(storm(fault_rate=0)) == {"calm"}


def test_a_storm_over_the_wire_bills_what_it_says_it_accepted(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(fault_rate=0.5, seed=3)
    statuses = []
    for _ in range(60):
        try:
            statuses.append(caller.post().status_code)
        except LOST:
            statuses.append(None)
    calls = kandinsky_sandbox.calls("submit")
    assert [call["status"] for call in calls] == statuses
    assert {None, 200, 429, 500, 502} == set(statuses)
    accepted = [call["request_id"] for call in calls if call["request_id"]]
    assert [row["request_id"] for row in kandinsky_sandbox.submissions] == accepted
    assert any(call["request_id"] and call["status"] != 200 for call in calls)
