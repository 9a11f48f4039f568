"""What is the blocking client's own: its thread, its callers' threads, and the signals that reach them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from airflow_provider_kandinsky.segmind.errors import ServiceUnavailableError
from airflow_provider_kandinsky.segmind.http.client import SegmindClient
from airflow_provider_kandinsky.segmind.schemas import JobStatus, TextToImageRequest

STATUS = {"status": "QUEUED", "request_id": "r-1"}


class TaskTimeout(BaseException):
    """As Airflow's: no Exception, so that nothing swallows it."""


@contextmanager
def alarm() -> Iterator[None]:
    """What Airflow does with an ``execution_timeout``, when SIGALRM comes."""

    def ring(*_: object) -> None:
        raise TaskTimeout

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def alarm_once(is_due: threading.Event) -> Iterator[None]:
    """As :func:`alarm`, which comes as soon as the event is set."""
    thread = threading.Thread(target=lambda: is_due.wait(60) and os.kill(os.getpid(), signal.SIGALRM))
    with alarm():
        thread.start()
        try:
            yield
        finally:
            thread.join()


class Service(httpx.AsyncBaseTransport):
    """Responses polls when it is opened, and all else at once; notes what was cancelled."""

    def __init__(self) -> None:
        self.polled = threading.Event()
        self.opened = threading.Event()
        self.cancelled = threading.Event()
        self.at_work: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/status"):
            self.polled.set()
            try:
                while not self.opened.is_set():
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        self.at_work |= {each.name for each in threading.enumerate()}
        return httpx.Response(200, json=STATUS)


def test_interrupting_a_poll_in_one_thread_does_not_affect_a_submission_in_another(
    raw_server: Callable[..., Any], a_cat: TextToImageRequest
) -> None:
    """Both are under way at one time: the poll is cut off before the submission is responded."""
    slow = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", *[b" "] * 200, gap=0.05)
    buying, cut_off = threading.Event(), threading.Event()

    class Both(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return await super().handle_async_request(request)
            buying.set()
            await asyncio.to_thread(cut_off.wait, 10)
            return httpx.Response(200, json={"status": "COMPLETED", "output": "https://images.segmind.com/1.png"})

    with (
        SegmindClient("SG_x", slow.url, transport=Both(), request_timeout=0.3) as client,
        ThreadPoolExecutor(1) as other,
    ):
        submitted = other.submit(client.generate, a_cat)
        assert buying.wait(5)
        with pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
            client.get_status("r-1")
        cut_off.set()
        assert submitted.result().urls == ["https://images.segmind.com/1.png"]


def test_many_threads_share_a_client() -> None:
    service = Service()
    service.opened.set()
    already_there = threading.active_count()
    with SegmindClient("SG_x", transport=service) as client, ThreadPoolExecutor(20) as threads:
        found = list(threads.map(client.get_status, map(str, range(200))))
    assert found == [JobStatus.QUEUED] * 200
    assert threading.active_count() == already_there


def test_all_threads_and_kinds_of_calls_keep_to_the_configured_limit_together(a_cat: TextToImageRequest) -> None:
    sent_at: list[float] = []
    began = time.monotonic()

    def respond(request: httpx.Request) -> httpx.Response:
        sent_at.append(time.monotonic())
        return httpx.Response(200, json=STATUS)

    with (
        SegmindClient("SG_x", transport=httpx.MockTransport(respond), requests_per_minute=600) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        calls = [threads.submit(client.get_status, "r-1") for _ in range(10)]
        calls += [threads.submit(client.submit, a_cat) for _ in range(10)]
        for call in calls:
            call.result()
    # A second's worth passes together, and 590 a minute after that.
    assert len(sent_at) == 20
    assert all(at - began > (number - 10) * 60 / 590 for number, at in enumerate(sorted(sent_at), start=1))


def test_a_task_timeout_interrupts_the_wait_at_once_and_ends_the_request() -> None:
    service = Service()
    with SegmindClient("SG_x", transport=service) as client:
        started = time.monotonic()
        with alarm_once(service.polled), pytest.raises(TaskTimeout):
            client.get_status("r-1")
        assert time.monotonic() - started < 30
        assert service.cancelled.wait(5)
        service.opened.set()
        assert client.get_status("r-1") is JobStatus.QUEUED, "the client goes on"


def test_a_task_timeout_while_the_submission_is_noted_keeps_it_back(a_cat: TextToImageRequest) -> None:
    """Wherever the caller's thread is by then: in most of the rounds it has only just handed over the call."""
    sent: list[httpx.Request] = []
    interrupted = threading.Event()

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=STATUS)

    def note(_: float) -> None:
        os.kill(os.getpid(), signal.SIGALRM)
        assert interrupted.wait(5)

    with SegmindClient("SG_x", transport=httpx.MockTransport(respond)) as client:
        for _ in range(30):
            interrupted.clear()
            with alarm(), pytest.raises(TaskTimeout):
                client.submit(a_cat, on_send=note)
            interrupted.set()
    assert sent == []


def test_a_task_timeout_interrupts_a_long_sleep() -> None:
    slept = threading.Event()

    async def sleep(_: float) -> None:
        slept.set()
        await asyncio.sleep(3600)

    client = SegmindClient("SG_x", transport=Service(), sleep=sleep)
    with client, alarm_once(slept), pytest.raises(TaskTimeout):
        client.wait("r-1")


def test_a_signal_handler_that_returns_interrupts_nothing() -> None:
    """Airflow calls ``on_kill`` from one."""
    service, killed = Service(), []

    def on_kill(*_: object) -> None:
        killed.append(True)
        service.opened.set()

    before = signal.signal(signal.SIGUSR1, on_kill)
    try:
        with SegmindClient("SG_x", transport=service) as client:
            threading.Thread(target=lambda: service.polled.wait() and os.kill(os.getpid(), signal.SIGUSR1)).start()
            assert client.get_status("r-1") is JobStatus.QUEUED
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert killed


def test_a_failure_of_its_own_keeps_nothing_alive() -> None:
    with SegmindClient("SG_x", transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
        gc.disable()
        try:
            with pytest.raises(ServiceUnavailableError) as caught:
                client.get_status("r-1")
            error = weakref.ref(caught.value)
            del caught
            assert error() is None
        finally:
            gc.enable()


def test_its_thread_is_a_daemon_and_is_there_only_while_it_is_needed(raw_server: Callable[..., Any]) -> None:
    already_there, process = set(threading.enumerate()), psutil.Process()
    open_before = process.num_fds()
    with SegmindClient("SG_x"):
        assert set(threading.enumerate()) == already_there
    for _ in range(3):
        server = raw_server(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"credits": 3}')
        with SegmindClient("SG_x", server.url) as client:
            assert client.get_credits().paid == 3.0
            (own,) = [each for each in set(threading.enumerate()) - already_there if "kandinsky" in each.name]
            assert own.daemon
        server.close()
        assert own not in threading.enumerate()
    assert process.num_fds() <= open_before


def test_closing_ends_what_another_thread_waits_for() -> None:
    service = Service()
    client = SegmindClient("SG_x", transport=service)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.get_status, "r-1")
        assert service.polled.wait(5)
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed during the call"):
            waiting.result(timeout=5)
    with pytest.raises(RuntimeError, match="closed"):
        client.get_status("r-1")


def test_a_call_from_within_its_own_loop_is_refused_and_not_waited_for_without_end(a_cat: TextToImageRequest) -> None:
    with SegmindClient("SG_x", transport=Service()) as client:
        inside = pytest.raises(RuntimeError, match="within the client's own event loop")
        with inside:
            client.submit(a_cat, on_send=lambda _: client.get_credits())


FORK = """
import os, sys, httpx
from airflow_provider_kandinsky.segmind.http.client import SegmindClient
pids = []
def response(request):
    return httpx.Response(200, json={"status": "QUEUED", "request_id": "r-1"})
client = SegmindClient("SG_x", transport=httpx.MockTransport(response))
if "used" in sys.argv:
    client.get_status("r-1")
child = os.fork()
assert client.get_status("r-1") == "QUEUED"
client.close()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("used", [[], ["used"]], ids=["unused", "used"])
def test_it_can_be_used_on_both_sides_of_a_fork(used: list[str]) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        # From 3.12 on Python warns of any fork beside threads; that this one does no harm is what is tried.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, *used],
        env=os.environ | {"PYTHONPATH": str(root)},
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
