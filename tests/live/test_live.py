"""``make live`` against the sandbox: it finds what differs, submits what it says, and writes no key."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky.sandbox.app import HISTORY_PATH, create_app
from airflow_provider_kandinsky.sandbox.settings import Settings

from .__main__ import NOTICE, differences, run
from .questions import Answer
from .recording import MAX_IMAGES, Recording, TooManyImagesError

KEY = "SG_live/secret+key"
URL = "http://sandbox"
#: The sandbox as it is, but with a rate limit to be met.
USUAL: dict[str, Any] = {"api_keys": (KEY,), "requests_per_minute": 90, "latency": 3, "queue_time": 3}

#: A setting that differs, and the questions whose answers differ then.
PLANTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "shape": ({"output_shape": "list"}, {"shape of a result, one image", "shape of a result, two images",
                                         "shape of a result, base64"}),
    "seed": ({"with_seed": False}, {"the seed in the result"}),
    "cost": ({"with_metrics": False}, {"metrics"}),
    "container": ({"history_container": "rows"}, {"key of the history's list"}),
    "no container": ({"history_container": None}, {"key of the history's list"}),
    "no zone": ({"history_times": "naive"}, {"form of a row's time"}),
    "zone": ({"history_utc_offset": 5.5}, {"form of a row's time"}),
    "no times": ({"history_times": "none"}, {"key of a row's time"}),
    "lag": ({"history_lag": 30}, {"lag of the history"}),
    "free polls": ({"count_polls": False}, {"polls count against the limit"}),
    "counted history": ({"history_counts": True}, {"a history call after a 429"}),
    "reset": ({"rate_reset": "iso"}, {"reset header of a 429"}),
    "retry-after": ({"retry_after": True}, {"Retry-After of a 429"}),
    "status_url": ({"status_url_host": "https://elsewhere"}, {"hosts of status_url and response_url"}),
    "image host": ({"public_url": "https://elsewhere"}, {"host of the images"}),
}  # fmt: skip


class Clock:
    """Time that passes by sleeping."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def ask(folder: Path, transport: httpx.AsyncBaseTransport | None = None, **settings: Any) -> tuple[list[Answer], Any]:
    """Ask a sandbox; what was answered, and its service."""
    clock = Clock()
    app = create_app(Settings(**USUAL | settings), clock)

    async def live() -> list[Answer]:
        async with httpx.AsyncClient(transport=transport or httpx.ASGITransport(app)) as http:
            return await run(Recording(http, KEY, URL, URL + HISTORY_PATH, clock, clock.sleep), folder, polls=100)

    return asyncio.run(live()), app.state.service


def not_held(answers: list[Answer]) -> set[str]:
    return {answer.question for answer in answers if answer.held is False}


def test_every_assumption_holds_for_the_sandbox_and_is_seen(tmp_path: Path) -> None:
    answers, service = ask(tmp_path)
    assert [answer for answer in answers if answer.held is not True] == []
    assert len(answers) > 25
    assert sum(len(job.image_names) for job in service.jobs.values()) == MAX_IMAGES
    assert f"{MAX_IMAGES} images" in NOTICE
    assert len(service.jobs) == 3


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """The answers of the sandbox as it is."""
    answers, _ = ask(tmp_path_factory.mktemp("usual"))
    return answers


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found_and_no_other(tmp_path: Path, usual: list[Answer], name: str) -> None:
    settings, questions = PLANTED[name]
    answers, service = ask(tmp_path / "planted", **settings)
    assert not_held(answers) == questions
    assert sum(len(job.image_names) for job in service.jobs.values()) == MAX_IMAGES
    # The fixture holds the sandbox against it.
    fixture = (tmp_path / "planted" / "answers.json").read_text(encoding="utf-8")
    assert questions <= set(differences(usual, fixture))
    assert differences(answers, fixture) == []


def test_no_key_is_written_even_if_the_service_echoes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(request: httpx.Request) -> httpx.Response:
        body = {"request_id": KEY, "status": KEY, "error": f"{'x' * 290}{KEY}", KEY: KEY, "output": KEY}
        return httpx.Response(200, json=body, headers={"x-echo": KEY})

    answers, _ = ask(tmp_path, httpx.MockTransport(echo))
    assert answers
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
    written += capsys.readouterr().out + caplog.text
    assert len(list(tmp_path.iterdir())) == 3
    assert "secret" not in written
    assert "***" in written


def test_other_requests_of_the_account_are_not_written(tmp_path: Path) -> None:
    clock = Clock()
    app = create_app(Settings(**USUAL), clock)

    async def live() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), headers={"x-api-key": KEY}) as http:
            await http.post(f"{URL}/v2/kandinsky2.1-txt2im", json={"prompt": "a private matter"})
            await run(Recording(http, KEY, URL, URL + HISTORY_PATH, clock, clock.sleep), tmp_path, polls=1)

    asyncio.run(live())
    assert "a private matter" not in (tmp_path / "raw.json").read_text(encoding="utf-8")


def test_a_lost_submission_ends_the_spending(tmp_path: Path) -> None:
    posts = []

    def lose(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and "no-such-model" not in request.url.path:
            posts.append(request)
            raise httpx.ReadTimeout("lost")
        return httpx.Response(404, json={"error": "not found"})

    with pytest.raises(httpx.ReadTimeout):
        ask(tmp_path, httpx.MockTransport(lose))
    assert len(posts) == 1
    assert (tmp_path / "raw.json").exists()


def test_more_than_was_agreed_to_is_never_sent() -> None:
    async def live() -> int:
        sent: list[httpx.Request] = []
        transport = httpx.MockTransport(lambda request: sent.append(request) or httpx.Response(200, json={}))
        async with httpx.AsyncClient(transport=transport) as http:
            recording = Recording(http, KEY, URL, URL, Clock(), Clock().sleep)
            with pytest.raises(TooManyImagesError):
                await recording.submit("m", {}, MAX_IMAGES + 1, "too many")
        return len(sent)

    assert asyncio.run(live()) == 0


@pytest.mark.heavy
@pytest.mark.parametrize(("environment", "said"), [({}, "SEGMIND_API_KEY"), ({"SEGMIND_API_KEY": KEY}, "No consent")])
def test_without_a_key_or_consent_nothing_is_submitted(environment: dict[str, str], said: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("SEGMIND_API_KEY", "CONFIRM")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.live"],
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Nothing was submitted" in done.stderr
    assert KEY not in done.stdout + done.stderr
