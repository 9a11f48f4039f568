"""Both clients against the sandbox, over a socket: what goes out, what comes back, what each refusal becomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    ContentBlockedError,
    JobExpiredError,
    JobFailedError,
    JobRejectedError,
    JobTimeoutError,
    KandinskyError,
)
from airflow_provider_kandinsky.segmind.schemas import Credits, JobStatus, TextToImageRequest

Connect = Callable[..., Any]
FULL = TextToImageRequest(
    prompt="a cat", negative_prompt="dogs", scheduler="DDIM", samples=2, num_inference_steps=10, guidance_scale=7.5,
    seed=7, img_width=512, img_height=1024,
)  # fmt: skip


def test_a_job_from_submission_to_images(connect: Connect, sandbox: Sandbox) -> None:
    client = connect(sandbox.url)
    job = client.submit(FULL)
    assert job.status is JobStatus.QUEUED
    assert client.get_status(job.request_id) is JobStatus.COMPLETED
    result = client.get_result(job.request_id, "kandinsky2.1-txt2im")
    assert replace(result, polls=1) == client.wait(job.request_id, model="kandinsky2.1-txt2im")
    assert result.urls == [f"{sandbox.url}/generations/{job.request_id}-{index}.png" for index in range(2)]
    assert (result.request_id, result.model, result.seed, result.cost) == (
        job.request_id, "kandinsky2.1-txt2im", 7, 0.02,
    )  # fmt: skip
    (submission,) = sandbox.submissions
    assert submission["payload"] == FULL.payload()
    assert (submission["model"], submission["request_id"]) == ("kandinsky2.1-txt2im", job.request_id)


SHAPES = ["images", "string", "list", "objects", "object", "json-text"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [1, 8])
def test_urls_come_in_order_in_any_shape(connect: Connect, sandbox: Sandbox, shape: str, samples: int) -> None:
    sandbox.configure(output_shape=shape)
    client = connect(sandbox.url)
    job = client.submit(TextToImageRequest(prompt="a cat", samples=samples))
    expected = [f"{sandbox.url}/generations/{job.request_id}-{index}.png" for index in range(samples)]
    assert client.get_result(job.request_id).urls == expected


@pytest.mark.parametrize("shape", ["data-uri", "bare-base64"])
def test_images_in_the_body_are_decoded(connect: Connect, sandbox: Sandbox, shape: str) -> None:
    sandbox.configure(output_shape=shape)
    client = connect(sandbox.url)
    result = client.get_result(client.submit(TextToImageRequest(prompt="a cat", samples=2)).request_id)
    assert [image.data[:4] for image in result.images] == [b"\x89PNG"] * 2


def test_what_the_service_leaves_out_is_unknown(connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest) -> None:
    sandbox.configure(with_metrics=False, with_seed=False)
    client = connect(sandbox.url)
    result = client.wait(client.submit(a_cat).request_id)
    assert (result.cost, result.seed, result.inference_time) == (None, None, None)


@pytest.mark.parametrize("samples", [1, 2], ids=["bytes", "JSON"])
def test_generate_holds_the_line(connect: Connect, sandbox: Sandbox, samples: int) -> None:
    result = connect(sandbox.url).generate(TextToImageRequest(prompt="a cat", samples=samples))
    assert len(result.images) == samples
    assert result.has_image_data == (samples == 1)
    assert [(each["call"], each["payload"]["samples"]) for each in sandbox.submissions] == [("generate", samples)]


def test_credits(connect: Connect, sandbox: Sandbox) -> None:
    sandbox.configure(credits=3.5, free_credits=0.25)
    assert connect(sandbox.url).get_credits() == Credits(3.5, 0.25)
    sandbox.configure(credits=None)
    assert connect(sandbox.url).get_credits() == Credits(None)
    assert [call["call"] for call in sandbox.calls()] == ["credits"] * 2


@pytest.mark.parametrize(
    ("prompt", "error_type"),
    [("[fail]", JobFailedError), ("[blocked]", ContentBlockedError)],
)
def test_a_job_that_fails(connect: Connect, sandbox: Sandbox, prompt: str, error_type: type[KandinskyError]) -> None:
    client = connect(sandbox.url)
    job = client.submit(TextToImageRequest(prompt=prompt))
    for call in (client.get_status, client.get_result, client.wait):
        with pytest.raises(error_type) as caught:
            call(job.request_id)
        assert type(caught.value) is error_type
        assert (caught.value.request_id, caught.value.billing) == (job.request_id, "no")


def test_a_parameter_that_fails_only_later(connect: Connect, sandbox: Sandbox) -> None:
    unchecked = TextToImageRequest.model_construct(prompt="a cat", samples=99)
    client = connect(sandbox.url)
    with pytest.raises(JobRejectedError, match="samples"):
        client.wait(client.submit(unchecked).request_id)


def test_a_job_that_takes_too_long(
    connect: Connect, sandbox: Sandbox, a_cat: TextToImageRequest, fake_time: Any
) -> None:
    sandbox.configure(latency=3600)
    client = connect(sandbox.url)
    job = client.submit(a_cat)
    with pytest.raises(JobTimeoutError, match=r"not finished 20 s after .* PROCESSING") as caught:
        client.wait(job.request_id, timeout=20)
    assert caught.value.request_id == job.request_id
    assert sum(fake_time.pauses) == pytest.approx(20)
    assert sandbox.count_calls("status", job.request_id) == len(fake_time.pauses)
    assert sandbox.count_calls("result") == 0


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_id", "path"),
    [("2c7f-11", b"2c7f-11"), ("a/b", b"a%2Fb"), ("a?b#c", b"a%3Fb%23c"), ("~%25", b"~%2525")],
)
def test_odd_ids_arrive_as_they_are(
    connect: Connect, raw_server: Callable[..., Any], request_id: str, path: bytes
) -> None:
    server = raw_server(NOT_FOUND)
    client = connect(server.url)
    for call in (client.get_status, client.get_result):
        with pytest.raises(JobExpiredError) as caught:
            call(request_id)
        assert caught.value.request_id == request_id
    assert [request.split(b" HTTP/")[0] for request in server.received] == [
        b"GET /v2/requests/" + path + b"/status",
        b"GET /v2/requests/" + path,
    ]


def test_an_id_of_dots_is_not_a_path(connect: Connect, raw_server: Callable[..., Any]) -> None:
    server = raw_server(NOT_FOUND)
    with pytest.raises(JobExpiredError):
        connect(server.url).get_status("..")
    assert server.received[0].startswith(b"GET /v2/requests/")


def test_an_id_that_cannot_be_sent_is_an_error_of_the_tree(connect: Connect, sandbox: Sandbox) -> None:
    with pytest.raises(KandinskyError):
        connect(sandbox.url).get_status("\ud800")


def test_the_key_travels_in_its_header_alone(
    connect: Connect, raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    server = raw_server(NOT_FOUND)
    client = connect(server.url, "SG_my_own_key")
    for call in (client.get_credits, lambda: client.submit(a_cat), lambda: client.get_result("r")):
        with pytest.raises(KandinskyError):
            call()
    assert len(server.received) == 3
    for request in server.received:
        assert re.findall(rb"(?m)^(.*)SG_my_own_key", request) == [b"x-api-key: "]
        assert f"user-agent: airflow-provider-kandinsky/{__version__}\r\n".encode() in request.lower()
        assert b"authorization" not in request.lower()
