"""The state machine, on a clock of its own."""

from __future__ import annotations

import pytest

from airflow_provider_kandinsky.sandbox.service import ApiError
from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY

from .fakes import MODEL, Core


def error_of(call, *arguments, **named) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **named)
    return caught.value


def test_a_job_is_queued_then_processing_then_completed():
    core = Core(queue_time=10, latency=5)
    job = core.submit()
    seen = []
    for _ in range(16):
        seen.append(core.status(job))
        core.clock.tick(1)
    assert seen == ["QUEUED"] * 10 + ["PROCESSING"] * 5 + ["COMPLETED"]


def test_only_the_first_job_of_a_model_starts_cold():
    core = Core(latency=1, cold_start=60)
    first, second = core.submit(), core.submit()
    core.clock.tick(30)
    assert (core.status(first), core.status(second)) == ("QUEUED", "COMPLETED")
    core.clock.tick(31)
    assert core.status(first) == "COMPLETED"


def latencies(core: Core) -> list[float]:
    jobs = [core.service.find(core.submit()) for _ in range(20)]
    return [job.finished_at - job.started_at for job in jobs]


def test_some_jobs_take_longer():
    drawn = latencies(Core(latency=1, straggler_share=0.5, straggler_latency=(50, 60)))
    assert set(drawn) > {1}
    assert all(each == 1 or 50 <= each <= 60 for each in drawn)


def test_a_range_of_latencies_is_drawn_from_the_seed():
    drawn = latencies(Core(latency=(2, 5), seed=7))
    assert all(2 <= latency <= 5 for latency in drawn)
    assert len(set(drawn)) == len(drawn)
    assert drawn == latencies(Core(latency=(2, 5), seed=7))
    assert drawn != latencies(Core(latency=(2, 5), seed=8))


def test_records_expire_an_hour_after_submission_whenever_the_job_finished():
    core = Core(latency=3000)
    job = core.submit()
    core.clock.tick(3599)
    assert core.status(job) == "COMPLETED"
    core.clock.tick(1)
    assert error_of(core.service.find, job).status == 404


def test_pictures_outlive_records_and_come_with_the_end_of_the_job():
    core = Core(latency=10)
    name = f"{core.submit(samples=3)}-2.png"
    assert error_of(core.service.find_image, name).status == 404
    core.clock.tick(7 * 86400 - 1)
    assert core.service.find_image(name)[1] == 2
    core.clock.tick(1)
    assert error_of(core.service.find_image, name).status == 404


@pytest.mark.parametrize("name", ["x.png", "-0.png", "{id}-3.png", "{id}-00.png", "{id}-0.jpg"])
def test_there_are_no_other_pictures(name):
    core = Core(latency=0)
    job = core.submit(samples=3)
    assert error_of(core.service.find_image, name.format(id=job)).status == 404


def test_credits_run_down_by_the_picture_and_then_refuse():
    core = Core(credits=0.05, price=0.01)
    core.submit(samples=3)
    assert core.service.balance() == (0.02, 0.0)
    assert error_of(core.submit, samples=3).status == 406
    core.submit(samples=2)
    assert core.service.balance() == (0.0, 0.0)
    refused = error_of(core.submit)
    assert (refused.status, refused.error) == (406, "insufficient credits")
    assert len(core.service.jobs) == 2


def test_free_credits_go_first():
    core = Core(credits=1, free_credits=0.015)
    core.submit()
    assert core.service.balance() == (1.0, 0.005)
    core.submit()
    assert core.service.balance() == (0.995, 0.0)


def test_a_failed_job_is_given_back_when_it_fails():
    core = Core(credits=0.01, latency=10)
    core.submit("[fail] a cat")
    assert core.service.balance() == (0.0, 0.0)
    assert error_of(core.submit).status == 406
    core.clock.tick(10)
    assert core.service.balance() == (0.01, 0.0)
    core.submit()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"prompt": "a [fail] cat"}, "Inference failed"),
        ({"prompt": "a [blocked] cat"}, "content policy"),
        ({"samples": 9}, "Invalid value for samples"),
        ({"num_inference_steps": 9}, "Invalid value for num_inference_steps"),
        ({"scheduler": "Euler"}, "Invalid value for scheduler"),
        ({"img_width": 768}, "Invalid value for img_width"),
        ({"prompt": 5}, "Invalid value for prompt"),
        ({"steps": 20}, "Invalid value for steps"),
    ],
)
def test_what_is_accepted_and_fails(parameters, text):
    core = Core(latency=5)
    job = core.submit(**parameters)
    assert core.status(job) == "PROCESSING"
    core.clock.tick(5)
    assert core.status(job) == "FAILED"
    error = core.service.find(job).error
    assert error is not None
    assert text in error


@pytest.mark.parametrize("payload", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": " \n"}])
def test_a_prompt_is_mandatory(payload):
    core = Core()
    refused = error_of(core.service.submit, "submit", DEFAULT_KEY, MODEL, payload)
    assert (refused.status, refused.error) == (400, "Prompt is Mandatory")


def test_models_are_known_retired_or_unknown():
    core = Core(retired_models=["old"])
    payload = {"prompt": "a cat"}
    assert error_of(core.service.submit, "submit", DEFAULT_KEY, "old", payload).status == 410
    assert error_of(core.service.submit, "submit", DEFAULT_KEY, "kandinsky2.1-txt2img", payload).status == 404
    assert core.service.jobs == {}


def test_keys_are_good_forbidden_or_bad():
    core = Core(api_keys=["SG_a", "SG_b"], forbidden_keys=["SG_c"])
    for key in ("SG_a", "SG_b", "SG_c"):
        core.service.admit("credits", key)
    for key in (None, "", "SG_d"):
        assert error_of(core.service.admit, "credits", key).status == 401
    assert error_of(core.service.submit, "submit", "SG_c", MODEL, {"prompt": "a cat"}).status == 403


def test_a_seed_is_drawn_where_none_was_given():
    core = Core()
    seeds = [core.service.find(core.submit(**seed)).seed for seed in ({"seed": 5}, {"seed": -1}, {"seed": -1}, {})]
    assert seeds[0] == 5
    assert len(set(seeds)) == 4
    assert min(seeds) >= 0


def admitted(core: Core, calls: int, call: str = "submit") -> list[int]:
    statuses = []
    for _ in range(calls):
        try:
            core.service.admit(call, DEFAULT_KEY)
            statuses.append(200)
        except ApiError as error:
            statuses.append(error.status)
    return statuses


def test_the_rate_limit_shuts_and_opens_again():
    core = Core(requests_per_minute=3)
    core.clock.tick(0.25)
    assert admitted(core, 5) == [200, 200, 200, 429, 429]
    core.clock.tick(59.9)
    refused = error_of(core.service.admit, "submit", DEFAULT_KEY)
    assert refused.headers == {"x-rate-limit-reset-at-utc": "1750000061"}
    core.clock.tick(0.1)
    assert admitted(core, 4) == [200, 200, 200, 429]


def test_the_limit_is_each_keys_own():
    core = Core(requests_per_minute=1, api_keys=["SG_a", "SG_b"])
    core.service.admit("submit", "SG_a")
    core.service.admit("submit", "SG_b")
    assert error_of(core.service.admit, "submit", "SG_a").status == 429


def test_polls_count_unless_told_otherwise():
    assert admitted(Core(requests_per_minute=2), 3, "status") == [200, 200, 429]
    lenient = Core(requests_per_minute=2, count_polls=False)
    assert admitted(lenient, 3, "result") == [200, 200, 200]
    assert admitted(lenient, 3, "submit") == [200, 200, 429]


def test_when_to_come_back_is_told_in_the_form_that_is_set():
    core = Core(requests_per_minute=1, rate_reset="iso", retry_after=True)
    core.service.admit("submit", DEFAULT_KEY)
    core.clock.tick(20)
    refused = error_of(core.service.admit, "submit", DEFAULT_KEY)
    assert refused.headers == {"x-rate-limit-reset-at-utc": "2025-06-15T15:07:40+00:00", "retry-after": "40"}
