"""Where the demo's pictures come from: the sandbox, or with a key and with consent the real service."""

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
from airflow_provider_kandinsky.segmind.constants import DEFAULT_BASE_URL
from airflow_provider_kandinsky.segmind.schemas import DEFAULT_MODEL
from demo.local_airflow import free_port
from demo.process_session import ProcessSession

SANDBOX_LATENCY = 3


class NoConsentError(Exception):
    """Pictures would have been bought, and nobody said they may."""


@dataclass(frozen=True)
class Service:
    """A service to ask for pictures.

    :param env: what Airflow's components need in their environment to use it.
    :param patience: seconds after which its pictures should be there.
    :param sandbox: the sandbox, where it is one.
    """

    env: dict[str, str]
    patience: float
    sandbox: Sandbox | None = None


@contextmanager
def service_for_demo(pictures: int, folder: Path) -> Iterator[Service]:
    """Provide the service that the environment asks for: the real one if there is a ``SEGMIND_API_KEY``.

    :param pictures: how many will be asked for.
    :param folder: where the sandbox writes its log.
    :raises NoConsentError: before anything was started or bought.
    """
    if key := os.environ.get("SEGMIND_API_KEY", "").strip():
        _ask_for_consent(pictures)
        # The connection is empty on purpose: the key stays in the environment and is looked up there.
        connection = json.dumps({"conn_type": "kandinsky"})
        yield Service({"SEGMIND_API_KEY": key, "AIRFLOW_CONN_KANDINSKY_DEFAULT": connection}, patience=900)
    else:
        with _sandbox_process(folder / "sandbox.log") as sandbox:
            print(f"Sandbox: {sandbox.url} stands in for Segmind; {SANDBOX_LATENCY} s a picture, no key, no bill.")
            yield Service({"AIRFLOW_CONN_KANDINSKY_DEFAULT": sandbox.connection()}, patience=120, sandbox=sandbox)


def _ask_for_consent(pictures: int) -> None:
    print(f"SEGMIND_API_KEY is set, so this run uses the real service at {DEFAULT_BASE_URL}.")
    print(f"It will BUY {pictures} pictures of the model {DEFAULT_MODEL} with that key.")
    if os.environ.get("CONFIRM") == "1":
        print("CONFIRM=1: going on.")
    elif not sys.stdin.isatty():
        raise NoConsentError("Nothing was bought. Set CONFIRM=1 to buy them, or unset SEGMIND_API_KEY for the sandbox.")
    elif input("Buy them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise NoConsentError("Nothing was bought. Unset SEGMIND_API_KEY for the sandbox.")


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


def _wait_until_ready(sandbox: Sandbox, process: ProcessSession, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            sandbox.count_calls()
            return
        except httpx.TransportError:
            if process.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start:\n{process.log_tail()}") from None
            time.sleep(0.1)
