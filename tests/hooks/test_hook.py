"""The hook, each method and its async twin, against the sandbox."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_provider_kandinsky.compat.airflow import BaseHook
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    JobTimeoutError,
)
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus, TextToImageRequest

from ..support.task_instance import QUICK

Ask = Callable[..., Any]
GivenConnection = Callable[..., str]


def test_every_method_has_its_twin(twins: dict[str, str]) -> None:
    coroutines = {name for name, value in inspect.getmembers(KandinskyHook) if inspect.iscoroutinefunction(value)}
    public = {name for name in coroutines - set(dir(BaseHook)) if not name.startswith("_")}
    assert public - {"aget_settings", "aget_conn"} == set(twins.values())
    for name, twin in twins.items():
        assert not inspect.iscoroutinefunction(getattr(KandinskyHook, name))
        parameters = [list(inspect.signature(getattr(KandinskyHook, each)).parameters) for each in (name, twin)]
        assert parameters[0] == parameters[1]


@pytest.mark.parametrize(
    "request_",
    [{"prompt": "a cat", "samples": "2"}, TextToImageRequest(prompt="a cat", samples=2)],
    ids=["dict", "typed"],
)
def test_a_job_from_submission_to_images(open_hook: Ask, sandbox: Sandbox, request_: Any) -> None:
    hook = open_hook()
    job = hook.submit(request_)
    assert isinstance(job, Job)
    assert hook.get_status(job.request_id) is JobStatus.COMPLETED
    result = hook.get_result(job.request_id, "kandinsky2.1-txt2im")
    assert len(result.urls) == 2
    assert (result.request_id, result.model) == (job.request_id, "kandinsky2.1-txt2im")
    assert [each["payload"] for each in sandbox.submissions] == [{"prompt": "a cat", "samples": 2}]


def test_wait_fetches_the_result(open_hook: Ask, sandbox: Sandbox) -> None:
    hook = open_hook()
    job = hook.submit({"prompt": "a cat"})
    result = hook.wait(job.request_id, timeout=0.1, model="m")
    assert (result.request_id, result.model, len(result.urls)) == (job.request_id, "m", 1)


def test_generate_returns_the_image(open_hook: Ask, sandbox: Sandbox) -> None:
    result = open_hook().generate({"prompt": "a cat"})
    assert [image.data[:4] for image in result.images] == [b"\x89PNG"]
    assert [each["call"] for each in sandbox.submissions] == ["generate"]


def test_the_model_can_be_chosen(open_hook: Ask, sandbox: Sandbox) -> None:
    sandbox.configure(models=["kandinsky2.2-txt2img"])
    hook = open_hook()
    hook.submit({"prompt": "a cat"}, "kandinsky2.2-txt2img")
    hook.generate({"prompt": "a cat"}, model="kandinsky2.2-txt2img")
    assert [each["model"] for each in sandbox.submissions] == ["kandinsky2.2-txt2img"] * 2


@pytest.mark.parametrize("method", ["submit", "generate"])
def test_bad_parameters_are_refused_before_anything_is_sent(open_hook: Ask, sandbox: Sandbox, method: str) -> None:
    with pytest.raises(BadRequestError, match="samples=9"):
        getattr(open_hook(), method)({"prompt": "a cat", "samples": 9})
    assert sandbox.calls() == []


def test_credits(open_hook: Ask, sandbox: Sandbox) -> None:
    sandbox.configure(credits=3.5, free_credits=0.25)
    assert open_hook().get_credits() == Credits(3.5, 0.25)


def test_the_history_url_of_the_connection_counts(sandbox: Sandbox) -> None:
    with KandinskyHook() as hook:
        job = hook.submit({"prompt": "a cat"})
        past = hook.get_conn().get_past_request(job.request_id)
    assert past is not None
    assert past.request_id == job.request_id


def test_the_client_is_created_once_and_closed(sandbox: Sandbox) -> None:
    with KandinskyHook() as hook:
        client = hook.get_conn()
        assert hook.get_conn() is client
    with pytest.raises(RuntimeError, match="closed"):
        client.get_credits()

    async def use() -> None:
        async with KandinskyHook() as hook:
            client = await hook.aget_conn()
            assert await hook.aget_conn() is client
        with pytest.raises(RuntimeError, match="closed"):
            await client.get_credits()

    asyncio.run(use())


def test_no_repr_or_log_holds_the_key(
    open_hook: Ask, given_connection: GivenConnection, kandinsky_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    key = "SG_f00dfeedc0ffee42"
    face = open_hook(given_connection(password=key, host=kandinsky_sandbox.url))
    assert not face.test_connection()[0]
    hook: KandinskyHook = getattr(face, "hook", face)
    assert key not in repr(hook) + str(hook) + repr(vars(hook)) + repr(hook.settings) + caplog.text
    assert hook.settings.api_key == key


def test_the_connection_is_read_when_it_is_needed() -> None:
    hook = KandinskyHook("not_there")
    assert hook.kandinsky_conn_id == "not_there"
    assert (KandinskyHook.conn_type, KandinskyHook.default_conn_name) == ("kandinsky", "kandinsky_default")
    assert KandinskyHook().kandinsky_conn_id == "kandinsky_default"


@pytest.mark.parametrize(
    ("fields", "error_type"),
    [({}, AuthenticationError), ({"password": "SG_x", "extra": {"request_timeout": -1}}, ConfigurationError)],
    ids=["no key", "bad extra"],
)
def test_a_bad_connection_is_reported_by_type(
    open_hook: Ask, given_connection: GivenConnection, fields: Any, error_type: type[Exception]
) -> None:
    with pytest.raises(error_type):
        open_hook(given_connection(**fields)).submit({"prompt": "a cat"})


def test_the_twins_never_hold_up_the_event_loop(sandbox: Sandbox) -> None:
    """While each call is held back for a while, a neighbour in the same loop goes on ticking."""
    with KandinskyHook() as hook:
        request_id = hook.submit({"prompt": "a cat"}).request_id
    sandbox.fault("*", times=9, stall=0.3)
    ticks: list[None] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            ticks.append(None)

    async def ticks_during(call: Awaitable[Any]) -> int:
        before = len(ticks)
        await call
        return len(ticks) - before

    async def use() -> list[int]:
        async with KandinskyHook() as hook:
            ticker = asyncio.create_task(tick())
            calls = [
                hook.asubmit({"prompt": "a cat"}),
                hook.aget_status(request_id),
                hook.aget_result(request_id),
                hook.agenerate({"prompt": "a cat"}),
                hook.atest_connection(),
            ]
            counted = [await ticks_during(call) for call in calls]
            ticker.cancel()
            return counted

    # A call that blocked would leave time for one tick at most.
    assert min(asyncio.run(use())) > 3


def test_concurrent_callers_share_one_async_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[AsyncSegmindClient] = []
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(requests_per_minute=1200))

    async def submit_a_group() -> float:
        async with KandinskyHook() as hook:
            opened = await asyncio.gather(*(hook.aget_conn() for _ in range(25)))
            assert len(set(opened)) == 1
            clients.append(opened[0])
            started = time.monotonic()
            await asyncio.gather(*(hook.asubmit({"prompt": "a cat", "seed": seed}) for seed in range(25)))
            return time.monotonic() - started

    for _ in range(2):  # a hook may be used again in another event loop
        # 1200 a minute are ten at once and then 19.8 a second.
        assert asyncio.run(submit_a_group()) > 0.7
    assert clients[0] is not clients[1]
    assert all(each._sender._http.is_closed for each in clients)


def test_threads_share_one_blocking_client_which_keeps_to_the_limit(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(requests_per_minute=1200))
    with KandinskyHook() as hook, ThreadPoolExecutor(20) as threads:
        started = time.monotonic()
        clients = set(threads.map(lambda _: (hook.get_credits(), hook.get_conn())[1], range(25)))
        assert time.monotonic() - started > 0.7
    assert len(clients) == 1


def test_a_hook_can_be_copied(sandbox: Sandbox) -> None:
    with copy.deepcopy(KandinskyHook()) as hook:
        assert hook.get_credits().paid


class Supervisor:
    """The task's channel to Airflow's supervisor, which receives the secrets to mask."""

    def __init__(self) -> None:
        self.masked: list[Any] = []

    def send(self, message: Any, *_: Any, **__: Any) -> None:
        if type(message).__name__ == "MaskSecret":
            self.masked.append(message.value)

    async def asend(self, message: Any, *_: Any, **__: Any) -> None:
        self.send(message)


@pytest.mark.parametrize("way", ["blocking", "async"])
def test_a_key_of_the_environment_is_masked(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Airflow itself masks only the passwords of connections."""
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", json.dumps({"conn_type": "kandinsky"}))
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_environment")
    settings = asyncio.run(KandinskyHook().aget_settings()) if way == "async" else KandinskyHook().settings
    assert settings.api_key == "SG_environment"
    assert "SG_environment" in supervisor.masked


@pytest.mark.parametrize("way", ["blocking", "async"])
def test_a_changed_key_is_read_again_and_masked(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)

    def change_key() -> None:
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection().replace("SG_sandbox", "SG_new"))
        sandbox.configure(api_keys=["SG_new"])

    async def use() -> GenerationResult:
        async with KandinskyHook(poll_policy=QUICK) as hook:
            job = await hook.asubmit({"prompt": "a cat"})
            change_key()
            return await hook.await_result(job.request_id)

    if way == "async":
        result = asyncio.run(use())
    else:
        with KandinskyHook(poll_policy=QUICK) as hook:
            job = hook.submit({"prompt": "a cat"})
            change_key()
            result = hook.wait(job.request_id)
    assert len(result.urls) == 1
    assert "SG_sandbox" in supervisor.masked
    assert "SG_new" in supervisor.masked
    assert [each["status"] for each in sandbox.calls("status")] == [401, 200]


def test_the_key_of_another_host_is_not_sent_to_the_first(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with KandinskyHook(poll_policy=QUICK) as hook:
        job = hook.submit({"prompt": "a cat"})
        elsewhere = {"conn_type": "kandinsky", "password": "SG_new", "host": "https://elsewhere.test"}
        monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", json.dumps(elsewhere))
        sandbox.configure(api_keys=["SG_new"])
        with pytest.raises(JobTimeoutError):
            hook.wait(job.request_id, timeout=0.5)
    assert "now points to another host" in caplog.text
    assert {each["status"] for each in sandbox.calls("status")} == {401}


@pytest.mark.parametrize("method", ["test_connection", "get_credits"])
def test_a_hook_that_nobody_closes_takes_its_thread_with_it(sandbox: Sandbox, method: str) -> None:
    """Airflow's API server makes one for each press of the test button."""
    already_there = set(threading.enumerate())
    hook = KandinskyHook()
    assert getattr(hook, method)()
    own = set(threading.enumerate()) - already_there
    assert own
    del hook
    gc.collect()
    for thread in own:
        thread.join(timeout=5)
        assert not thread.is_alive()
