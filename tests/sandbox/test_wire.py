"""What goes over the wire, on a real socket."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from airflow_provider_kandinsky.sandbox.client import Sandbox

from .fakes import MODEL, Caller


def test_submit_names_the_job_and_where_to_ask(kandinsky_sandbox: Sandbox, caller: Caller):
    body = caller.post().json()
    url = f"{kandinsky_sandbox.url}/v2/requests/{body['request_id']}"
    assert body == {
        "request_id": body["request_id"],
        "status": "QUEUED",
        "status_url": f"{url}/status",
        "response_url": url,
        "poll_url": f"{url}/status",
    }


def test_the_urls_can_point_elsewhere(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(status_url_host="https://elsewhere.example")
    body = caller.post().json()
    for name in ("status_url", "response_url", "poll_url"):
        assert body[name].startswith(f"https://elsewhere.example/v2/requests/{body['request_id']}")


def test_status_and_result_on_the_way(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(queue_time=600)
    queued = caller.submit()
    kandinsky_sandbox.configure(queue_time=0, latency=600)
    processing = caller.submit()
    assert caller.status(queued).json() == {"status": "QUEUED", "request_id": queued, "metrics": {}}
    assert caller.status(processing).json() == {"status": "PROCESSING", "request_id": processing, "metrics": {}}
    answer = caller.result(processing)
    assert (answer.status_code, answer.json()) == (200, {"status": "PROCESSING", "request_id": processing})


def test_the_result_of_a_finished_job(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(credits=1)
    job = caller.submit(samples=2, seed=7)
    assert caller.status(job).json() == {"status": "COMPLETED", "request_id": job, "metrics": {"inference_time": 0.0}}
    body = caller.result(job).json()
    files = [f"{job}-0.png", f"{job}-1.png"]
    urls = [f"{kandinsky_sandbox.url}/generations/{name}" for name in files]
    metrics = body.pop("metrics")
    assert body == {
        "status": "COMPLETED",
        "error": None,
        "prompt": "a cat",
        "seed": "7",
        "timings": {"inference": 0.0},
        "output": urls[0],
        "images": [
            {"url": url, "content_type": "image/png", "file_name": name} for url, name in zip(urls, files, strict=True)
        ],
    }
    assert (metrics["cost"], metrics["remaining_credits"], metrics["retry_count"]) == (0.02, 0.98, 0)


def test_metrics_and_seed_can_be_missing(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(with_metrics=False, with_seed=False)
    assert set(caller.result(caller.submit()).json()) == {"status", "error", "prompt", "output", "images"}


def test_a_failed_job_is_served_under_422(caller: Caller):
    job = caller.submit("[fail] a cat")
    for answer in (caller.status(job), caller.result(job)):
        assert answer.status_code == 422
        assert answer.json() == {
            "status": "FAILED",
            "error": "Inference failed: the worker ran into an internal error.",
        }
    assert caller.credits() == {"credits": 100.0, "free-credits": 0.0}


def test_expired_and_unknown_jobs_are_not_found(kandinsky_sandbox: Sandbox, caller: Caller):
    job = caller.submit()
    kandinsky_sandbox.configure(expiry=0)
    for answer in (caller.status(job), caller.result(job), caller.status("nobody"), caller.result("nobody")):
        assert answer.status_code == 404
        assert "not found" in answer.json()["error"]


def is_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


URL = "{url}/generations/{job}-{index}.png"
SHAPES = {
    "string": (URL, [URL, URL]),
    "list": ([URL], [URL, URL]),
    "objects": ([{"url": URL}], [{"url": URL}, {"url": URL}]),
    "object": ({"url": URL}, {"images": [{"url": URL}, {"url": URL}]}),
}


def located(expected: object, url: str, job: str) -> object:
    text = json.dumps(expected)
    for index in range(text.count("{index}")):
        text = text.replace("{index}", str(index), 1)
    return json.loads(text.replace("{url}", url).replace("{job}", job))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_with_urls(kandinsky_sandbox: Sandbox, caller: Caller, shape: str, samples: int):
    kandinsky_sandbox.configure(output_shape=shape)
    job = caller.submit(samples=samples)
    body = caller.result(job).json()
    assert body["output"] == located(SHAPES[shape][samples - 1], kandinsky_sandbox.url, job)
    assert "images" not in body


def test_shape_json_text(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(output_shape="json-text")
    job = caller.submit(samples=2)
    output = caller.result(job).json()["output"]
    assert json.loads(output) == located([URL, URL], kandinsky_sandbox.url, job)


@pytest.mark.parametrize(("shape", "prefix"), [("data-uri", "data:image/png;base64,"), ("bare-base64", "")])
def test_shapes_with_data(kandinsky_sandbox: Sandbox, caller: Caller, shape: str, prefix: str):
    kandinsky_sandbox.configure(output_shape=shape)
    one = caller.result(caller.submit()).json()["output"]
    two = caller.result(caller.submit(samples=2)).json()["output"]
    assert len({one, *two}) == 3
    for text in (one, *two):
        assert text.startswith(prefix)
        assert is_png(base64.b64decode(text.removeprefix(prefix), validate=True))


@pytest.mark.parametrize(
    ("shape", "pick"),
    [
        ("images", lambda output: output),
        ("list", lambda output: output[0]),
        ("objects", lambda output: output[0]["base64"]),
        ("object", lambda output: output["base64"]),
        ("json-text", lambda output: json.loads(output)[0]),
    ],
)
def test_base64_puts_the_picture_into_the_output(kandinsky_sandbox: Sandbox, caller: Caller, shape: str, pick):
    kandinsky_sandbox.configure(output_shape=shape)
    job = caller.submit(base64=True, seed=3)
    body = caller.result(job).json()
    data = base64.b64decode(pick(body["output"]), validate=True)
    assert data == caller.http.get(f"/generations/{job}-0.png").content
    assert "images" not in body


def test_pictures_need_no_key_and_have_the_size_that_was_asked_for(kandinsky_sandbox: Sandbox, caller: Caller):
    url = caller.result(caller.submit(img_width=1024, img_height=512)).json()["output"]
    del caller.http.headers["x-api-key"]
    answer = caller.http.get(url)
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (1024, 512)
    kandinsky_sandbox.configure(image_expiry=0)
    assert caller.http.get(url).status_code == 404


def test_pictures_can_have_a_public_url(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(public_url="http://localhost:9999")
    job = caller.submit()
    assert caller.result(job).json()["output"] == f"http://localhost:9999/generations/{job}-0.png"
    assert caller.history().json()["data"][0]["generation_url"] == f"http://localhost:9999/generations/{job}-0.png"


def test_v1_answers_the_picture_itself(kandinsky_sandbox: Sandbox, caller: Caller):
    answer = caller.post(version="v1", seed=3)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert is_png(answer.content)
    assert caller.credits()["credits"] == 99.99
    assert [submission["call"] for submission in kandinsky_sandbox.submissions] == ["generate"]


def test_v1_answers_json_for_several_pictures_and_for_base64(caller: Caller):
    assert len(caller.post(version="v1", samples=3).json()["images"]) == 3
    body = caller.post(version="v1", base64=True).json()
    assert is_png(base64.b64decode(body["output"], validate=True))


def test_v1_fails_with_500(caller: Caller):
    answer = caller.post(version="v1", samples=99)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("Invalid value for samples")


def test_v1_blocks_until_the_job_is_done(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(latency=0.2)
    assert caller.post(version="v1").elapsed.total_seconds() >= 0.2


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": "SG_wrong"}, {"authorization": "Bearer SG_sandbox"}, {"authorization": "SG_sandbox"}],
)
def test_bad_keys(kandinsky_sandbox: Sandbox, caller: Caller, headers: dict[str, str]):
    job = caller.submit()
    del caller.http.headers["x-api-key"]
    caller.http.headers.update(headers)
    answers = [caller.post(), caller.post(version="v1"), caller.status(job), caller.result(job), caller.history()]
    answers += [caller.http.get("/v1/get-user-credits"), caller.http.get(f"/inference-request/request-history/{job}")]
    assert [answer.status_code for answer in answers] == [401] * 7
    assert len(kandinsky_sandbox.submissions) == 1


def test_refusals(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(retired_models=["old"])
    good = {"prompt": "a cat"}
    post = caller.http.post
    assert post("/v2/kandinsky2.1-txt2img", json=good).status_code == 404
    assert post("/v2/old", json=good).status_code == 410
    assert post(f"/v2/{MODEL}", data=good).status_code == 406
    assert post(f"/v2/{MODEL}", content=b'{"prompt"', headers={"content-type": "application/json"}).status_code == 400
    assert post(f"/v2/{MODEL}", json=[good]).status_code == 400
    blank = post(f"/v2/{MODEL}", json={"samples": 1})
    assert (blank.status_code, blank.json()) == (400, {"error": "Prompt is Mandatory"})
    assert kandinsky_sandbox.submissions == []
    assert caller.credits()["credits"] == 100


def test_forbidden_keys(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(forbidden_keys=[kandinsky_sandbox.api_key])
    assert caller.post().status_code == 403
    assert caller.credits()["credits"] == 100


@pytest.mark.parametrize("path", [f"/v1/{MODEL}", f"/v2/{MODEL}"])
def test_the_wrong_method_is_answered_with_a_page(caller: Caller, path: str):
    answer = caller.http.get(path)
    assert answer.status_code == 405
    assert answer.headers["content-type"].startswith("text/html")


def test_an_account_without_a_record(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(credits=None)
    answer = caller.http.get("/v1/get-user-credits")
    assert (answer.status_code, answer.json()) == (404, {"error": "No credits found for the user"})


def test_a_429_opens_again(kandinsky_sandbox: Sandbox, caller: Caller):
    kandinsky_sandbox.configure(requests_per_minute=1)
    job = caller.submit()
    refused = caller.status(job)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["x-rate-limit-reset-at-utc"]) - kandinsky_sandbox.submissions[0]["at"] <= 61
    kandinsky_sandbox.configure(rate_window=0.001)
    assert caller.status(job).status_code == 200
