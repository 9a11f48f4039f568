"""The vendor's own client is the judge: what it can do with the service, it can do with the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import httpx
import pytest
import segmind

from airflow_provider_kandinsky.sandbox.client import Sandbox

from .fakes import MODEL


@pytest.fixture
def sdk(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[segmind.SegmindClient]:
    # segmind.generations is an object of the package that hides the module of that name.
    monkeypatch.setattr(import_module("segmind.generations"), "REQUEST_HISTORY_URL", kandinsky_sandbox.history_url)
    client = segmind.SegmindClient(api_key=kandinsky_sandbox.api_key, base_url=f"{kandinsky_sandbox.url}/v1")
    with client._client:
        yield client


def test_submit_and_wait(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    kandinsky_sandbox.configure(latency=1)
    job = sdk.submit_async(MODEL, prompt="a cat", samples=2, seed=5)
    assert job.status()["status"] == "PROCESSING"
    result = job.wait(timeout=60, interval=0.02)
    assert result["status"] == "COMPLETED"
    assert result["seed"] == "5"
    assert len(result["images"]) == 2
    picture = sdk._client.get(result["images"][1]["url"])
    assert picture.headers["content-type"] == result["images"][1]["content_type"]
    assert job.result() == result
    assert [row["request_id"] for row in kandinsky_sandbox.submissions] == [job.request_id]


def test_run(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    kandinsky_sandbox.configure(latency=0)  # its poll interval is a second, and cannot be set
    assert sdk.run(MODEL, prompt="a cat")["output"].startswith(f"{kandinsky_sandbox.url}/generations/")


def test_run_sync(sdk: segmind.SegmindClient):
    response = sdk.run_sync(MODEL, prompt="a cat")
    assert response.headers["content-type"] == "image/png"
    assert response.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"prompt": "[fail]"}, "Inference failed"),
        ({"prompt": "[blocked]"}, "content policy"),
        ({"prompt": "a cat", "samples": 99}, "Invalid value for samples"),
    ],
)
def test_a_failed_job(sdk: segmind.SegmindClient, parameters: dict, detail: str):
    job = sdk.submit_async(MODEL, **parameters)
    with pytest.raises(segmind.InferenceFailed) as caught:
        job.wait(timeout=60, interval=0.02)
    assert detail in caught.value.detail
    assert caught.value.status_body["status"] == job.result()["status"] == "FAILED"


def test_a_timeout(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    kandinsky_sandbox.configure(latency=600)
    job = sdk.submit_async(MODEL, prompt="a cat")
    with pytest.raises(segmind.InferenceTimeout) as caught:
        job.wait(timeout=0.1, interval=0.02)
    assert caught.value.request_id == job.request_id


def invalid_argument(client: segmind.SegmindClient, **parameters: object) -> tuple[int | None, str | None]:
    with pytest.raises(segmind.SegmindError) as caught:
        client.submit_async(MODEL, **parameters)
    return caught.value.status, caught.value.detail


def test_refusals_are_read(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    assert invalid_argument(sdk, samples=1) == (400, "Prompt is Mandatory")
    kandinsky_sandbox.configure(credits=0)
    assert invalid_argument(sdk, prompt="a cat") == (406, "insufficient credits")
    stranger = segmind.SegmindClient(api_key="SG_wrong", base_url=f"{kandinsky_sandbox.url}/v1")
    with stranger._client:
        assert invalid_argument(stranger, prompt="a cat") == (401, "Unauthorized: invalid or missing API key")


def test_an_expired_job(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    job = sdk.submit_async(MODEL, prompt="a cat")
    kandinsky_sandbox.configure(expiry=0)
    with pytest.raises(segmind.SegmindError) as caught:
        job.wait(timeout=60, interval=0.02)
    assert caught.value.status == 404


@pytest.mark.parametrize("status", [404, 429, 502])
def test_one_bad_answer_loses_a_job_that_is_paid(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox, status: int):
    """What docs/how-to/move-from-the-sdk.md says of it: the error names no job, and a retry submits another."""
    kandinsky_sandbox.fault("status", status=status)
    with pytest.raises(segmind.SegmindError) as caught:
        sdk.run(MODEL, prompt="a cat")
    (submitted,) = kandinsky_sandbox.submissions
    assert submitted["request_id"] not in str(caught.value)
    assert not hasattr(caught.value, "request_id")
    kandinsky_sandbox.configure(latency=0)
    assert sdk.run(MODEL, prompt="a cat")["status"] == "COMPLETED"
    assert len(kandinsky_sandbox.submissions) == 2


def test_a_lost_answer_loses_a_job_that_is_paid(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    kandinsky_sandbox.fault("submit", drop=True, after=True)
    with pytest.raises(httpx.TransportError):
        sdk.run(MODEL, prompt="a cat")
    assert len(kandinsky_sandbox.submissions) == 1


def test_the_history(sdk: segmind.SegmindClient, kandinsky_sandbox: Sandbox):
    kandinsky_sandbox.configure(latency=0)
    first = sdk.submit_async(MODEL, prompt="a cat").request_id
    second = sdk.submit_async(MODEL, prompt="[fail]").request_id
    assert [row["request_id"] for row in sdk.generations.history()["data"]] == [second, first]
    assert [row["request_id"] for row in sdk.generations.history(per_page=1, page=2)["data"]] == [first]
    (failed,) = sdk.generations.history(status="FAILED", model_name="kandinsky", sort_order="asc")["data"]
    assert (failed["request_id"], failed["credits_deduction"]) == (second, 0)
    row = sdk.generations.get(first)
    assert (row["model_status"], row["credits_deduction"], row["request_body"]) == (
        "COMPLETED",
        0.01,
        {"prompt": "a cat"},
    )
    with pytest.raises(segmind.SegmindError) as caught:
        sdk.generations.get("nobody")
    assert caught.value.status == 404
