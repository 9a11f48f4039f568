"""The demo's image service: the sandbox, or with a key and the user's consent the real one."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL, DEFAULT_MODEL
from demo.local_airflow import free_port
from demo.process_session import ProcessSession

SANDBOX_LATENCY = 3


class NoConsentError(Exception):
    """The run would have cost money, and the user has not agreed."""


@dataclass(frozen=True)
class Service:
    """An image service.

    :param env: the environment variables of Airflow's components.
    :param run_timeout: seconds within which the run should end.
    :param sandbox: ``None`` for the real service.
    """

    env: dict[str, str]
    run_timeout: float
    sandbox: Sandbox | None = None


@contextmanager
def service_for_demo(image_count: int, folder: Path) -> Iterator[Service]:
    """Provide the real service if there is a ``SEGMIND_API_KEY``, else the sandbox.

    :param image_count: how many images will be submitted.
    :param folder: where the sandbox writes its log.
    :raises NoConsentError: before anything was started or submitted.
    """
    if key := os.environ.get("SEGMIND_API_KEY", "").strip():
        _ask_for_consent(image_count)
        # The connection is empty on purpose: the hook reads the key from the environment.
        connection = json.dumps({"conn_type": "kandinsky"})
        yield Service({"SEGMIND_API_KEY": key, "AIRFLOW_CONN_KANDINSKY_DEFAULT": connection}, run_timeout=900)
    else:
        with _sandbox_process(folder / "sandbox.log") as sandbox:
            print(f"Sandbox: {sandbox.url} stands in for Segmind; {SANDBOX_LATENCY} s per image, no key, no bill.")
            yield Service({"AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection()}, run_timeout=300, sandbox=sandbox)


def _ask_for_consent(image_count: int) -> None:
    print(f"SEGMIND_API_KEY is set, so this run uses the real service at {DEFAULT_BASE_URL}.")
    print(f"It will BUY {image_count} images of the model {DEFAULT_MODEL} with that key.")
    if os.environ.get("CONFIRM") == "1":
        print("CONFIRM=1: going on.")
    elif not sys.stdin.isatty():
        raise NoConsentError(
            "Nothing was submitted. Set CONFIRM=1 to submit them, or unset SEGMIND_API_KEY for the sandbox."
        )
    elif input("Buy them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise NoConsentError("Nothing was submitted. Unset SEGMIND_API_KEY for the sandbox.")


@contextmanager
def _sandbox_process(log: Path) -> Iterator[Sandbox]:
    port = free_port()
    command = [sys.executable, "-m", "airflow_provider_kandinsky.sandbox", "--port", str(port)]
    process = ProcessSession([*command, "--latency", str(SANDBOX_LATENCY)], log, os.environ)
    try:
        with Sandbox(f"http://127.0.0.1:{port}") as sandbox:
            _wait_until_ready(sandbox, process)
            yield sandbox
    finally:
        process.stop()


def _wait_until_ready(sandbox: Sandbox, process: ProcessSession, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            sandbox.count_calls()
            return
        except httpx.TransportError:
            if process.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start:\n{process.log_tail()}") from None
            time.sleep(0.1)
