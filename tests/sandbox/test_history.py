"""The request history: what a client asks when the answer to a POST was lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_kandinsky.sandbox.history import list_rows, one_row, read_query
from airflow_provider_kandinsky.sandbox.server import Sandbox
from airflow_provider_kandinsky.sandbox.service import ApiError

from .fakes import MODEL, Caller, Core


def rows(core: Core, **query: str) -> list[dict]:
    return list_rows(core.service, read_query(query), "http://sandbox/generations")["data"]


def test_a_row(kandinsky_sandbox: Sandbox, caller: Caller):
    job = caller.submit(img_width="512", seed=1)
    body = caller.history().json()
    created = datetime.fromtimestamp(kandinsky_sandbox.submissions[0]["at"], UTC).isoformat()
    row = {
        "request_id": job,
        "model_name": MODEL,
        "model_status": "COMPLETED",
        "model_created": created,
        "credits_deduction": 0.01,
        "request_body": {"prompt": "a cat", "img_width": "512", "seed": 1},
        "generation_url": f"{kandinsky_sandbox.url}/generations/{job}-0.png",
        "latency_ms": 0,
        "error": None,
    }
    assert body == {"data": [row], "page": 1, "per_page": 20, "total": 1}
    assert caller.http.get(f"/inference-request/request-history/{job}").json() == row
    assert caller.http.get("/inference-request/request-history/nobody").status_code == 404


def test_newest_first_with_a_row_per_picture_in_their_order():
    core = Core(latency=0)
    first = core.submit()
    core.clock.tick(1)
    second = core.submit(samples=2)
    names = [row["generation_url"].rpartition("/")[2] for row in rows(core)]
    assert names == [f"{second}-0.png", f"{second}-1.png", f"{first}-0.png"]
    assert [row["request_id"] for row in rows(core, sort_order="asc")] == [first, second, second]
    assert [row["credits_deduction"] for row in rows(core, sort_by="credits_deduction")] == [0.02, 0.02, 0.01]


def test_states_and_what_they_cost():
    core = Core(latency=10)
    failed, done = core.submit("[fail]"), core.submit()
    core.clock.tick(10)
    pending = core.submit()
    seen = {row["request_id"]: (row["model_status"], row["credits_deduction"], row["error"]) for row in rows(core)}
    assert seen[pending] == ("PENDING", None, None)
    assert seen[done] == ("COMPLETED", 0.01, None)
    assert seen[failed] == ("FAILED", 0.0, "Inference failed: the worker ran into an internal error.")
    for status, job in (("PENDING", pending), ("COMPLETED", done), ("FAILED", failed)):
        assert [row["request_id"] for row in rows(core, status=status)] == [job]


def test_pages():
    core = Core(latency=0)
    jobs = [core.submit() for _ in range(5)]
    pages = [[row["request_id"] for row in rows(core, page=str(page), per_page="2")] for page in (1, 2, 3, 4)]
    assert pages == [[jobs[4], jobs[3]], [jobs[2], jobs[1]], [jobs[0]], []]


def test_models_are_matched_by_a_part_of_their_name():
    core = Core()
    core.submit()
    assert len(rows(core, model_name="kandinsky")) == 1
    assert rows(core, model_name="flux") == []


def test_the_list_goes_back_a_week_and_a_single_request_has_any_age():
    core = Core()  # starts on 2025-06-15
    job = core.submit()
    core.clock.tick(7 * 86400)
    assert len(rows(core)) == 1
    core.clock.tick(86400)
    assert rows(core) == []
    assert len(rows(core, from_date="2025-06-15")) == 1
    assert len(rows(core, from_date="2025-06-15", to_date="2025-06-15")) == 1
    assert rows(core, from_date="2025-06-16", to_date="2025-06-20") == []
    core.clock.tick(365 * 86400)
    assert one_row(core.service, job, "http://sandbox/generations")["request_id"] == job


@pytest.mark.parametrize(
    "query",
    [
        {"per_page": "101"},
        {"page": "0"},
        {"status": "DONE"},
        {"from_date": "yesterday"},
        {"from_date": "2025-01-01", "to_date": "2025-03-01"},
    ],
)
def test_filters_that_make_no_sense_are_refused(query: dict[str, str]):
    with pytest.raises(ApiError) as caught:
        rows(Core(), **query)
    assert caught.value.status == 400


def test_the_containers_key_is_anyones_guess(kandinsky_sandbox: Sandbox, caller: Caller):
    job = caller.submit()
    kandinsky_sandbox.configure(history_container="requests")
    assert caller.history().json()["requests"][0]["request_id"] == job
    kandinsky_sandbox.configure(history_container=None)
    assert caller.history().json()[0]["request_id"] == job


def test_a_submission_can_take_a_while_to_land():
    core = Core(history_lag=30)
    job = core.submit()
    core.clock.tick(29)
    assert rows(core) == []
    with pytest.raises(ApiError):
        one_row(core.service, job, "http://sandbox/generations")
    core.clock.tick(1)
    assert one_row(core.service, job, "http://sandbox/generations") == rows(core)[0]
