"""The request history: what a client asks when the answer to a POST was lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.history import list_rows, one_row, read_query
from airflow_provider_kandinsky.sandbox.jobs import Job
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
    assert body == {"data": [row], "page": 1, "per_page": 20}
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


def test_all_that_it_has_is_as_old_as_its_lag():
    core = Core(latency=10, history_lag=30)
    failed, done = core.submit("[fail]"), core.submit()
    core.clock.tick(39)
    assert [core.status(job) for job in (failed, done)] == ["FAILED", "COMPLETED"]
    for row in [*rows(core), *(one_row(core.service, job, "http://sandbox") for job in (failed, done))]:
        unknown = {name: row[name] for name in ("credits_deduction", "generation_url", "latency_ms", "error")}
        assert row["model_status"] == "PENDING"
        assert set(unknown.values()) == {None}
    assert rows(core, status="COMPLETED") == []
    core.clock.tick(1)
    assert [row["model_status"] for row in rows(core)] == ["COMPLETED", "FAILED"]
    assert one_row(core.service, done, "http://sandbox/generations") == rows(core)[0]


def test_the_images_of_a_job_can_come_one_after_another():
    core = Core(latency=10, history_lag=5, history_image_lag=2)
    core.submit(samples=3)
    counts = []
    for seconds in (14, 1, 2, 2, 60):
        core.clock.tick(seconds)
        counts.append([row["model_status"] for row in rows(core)])
    assert counts == [["PENDING"], ["COMPLETED"], ["COMPLETED"] * 2, ["COMPLETED"] * 3, ["COMPLETED"] * 3]


def test_team_mates_submit_among_ones_own():
    core = Core(latency=10, history_foreign=4)
    own = core.submit("a lighthouse", seed=7, samples=2)
    found = rows(core)
    foreign = [row for row in found if row["request_id"] != own]
    assert found == rows(core)
    assert 0 < [row["request_id"] for row in found].index(own) < len(found) - 1
    assert {row["model_created"] for row in found} == {found[0]["model_created"]}
    kinds = {(row["model_name"], row["model_status"], row["request_body"]["prompt"]) for row in foreign}
    assert kinds == {
        (MODEL, "COMPLETED", "a lighthouse"),
        (f"{MODEL}-lora", "COMPLETED", "a lighthouse"),
        (MODEL, "FAILED", "a lighthouse"),
        (MODEL, "PENDING", "a team-mate's prompt"),
    }
    assert {row["request_body"]["seed"] for row in foreign} == {7}
    assert list(core.service.jobs) == [own]
    for row in foreign:
        with pytest.raises(ApiError):
            one_row(core.service, row["request_id"], "http://sandbox")
        if row["generation_url"]:
            with pytest.raises(ApiError):
                core.service.find_image(row["generation_url"].rpartition("/")[2])


def test_one_team_mate_has_every_kind_of_request_in_turn():
    core = Core(latency=10, history_foreign=1)
    own = {core.submit() for _ in range(4)}
    foreign = [row for row in rows(core) if row["request_id"] not in own]
    assert len({(row["model_name"], row["model_status"]) for row in foreign}) == 4


def test_what_comes_between_two_pages_pushes_rows_to_the_next(kandinsky_sandbox: Sandbox, caller: Caller):
    jobs = [caller.submit() for _ in range(4)]
    kandinsky_sandbox.configure(history_foreign=1)

    def page(number: int) -> list[str]:
        return [row["request_id"] for row in caller.history(page=number, per_page=2).json()["data"]]

    assert page(1) == [jobs[3], jobs[2]]
    caller.submit()  # with a team-mate's
    assert page(2) == [jobs[3], jobs[2]]
    assert page(3) == [jobs[1], jobs[0]]


def test_a_page_can_begin_and_end_within_the_images_of_a_job():
    core = Core(latency=0)
    core.submit(samples=5)
    pages = [[row["generation_url"][-5] for row in rows(core, page=str(page), per_page="2")] for page in (1, 2, 3, 4)]
    assert pages == [["0", "1"], ["2", "3"], ["4"], []]


def test_a_page_builds_no_more_rows_than_it_shows():
    core = Core(latency=0, credits=1000)
    for number in range(2_000):
        core.submit(f"cat {number}")
    reached: list[int] = []
    core.service.history = Counted(core.service.history, reached)
    assert len(rows(core, per_page="100")) == 100
    assert len(reached) == 100


class Counted(list[Job]):
    """A list that counts what is taken off its slices."""

    def __init__(self, jobs: Iterable[Job], reached: list[int]) -> None:
        super().__init__(jobs)
        self.reached = reached

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Counted(found, self.reached) if isinstance(key, slice) else found

    def __iter__(self) -> Iterator[Job]:
        for job in super().__iter__():
            self.reached.append(1)
            yield job


@pytest.mark.parametrize("counts", [True, False])
def test_its_calls_may_count_towards_the_plan(kandinsky_sandbox: Sandbox, caller: Caller, counts: bool):
    kandinsky_sandbox.configure(requests_per_minute=2, history_counts=counts)
    caller.submit()
    answers = [caller.history() for _ in range(3)]
    assert [answer.status_code for answer in answers] == ([200, 429, 429] if counts else [200] * 3)
    assert ("x-rate-limit-reset-at-utc" in answers[-1].headers) is counts
    assert caller.post().status_code == (429 if counts else 200)
    assert caller.post().status_code == 429


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
