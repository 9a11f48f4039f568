"""Connections as Airflow finds them: in the environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between a test and its own machine, and no key of the developer's is used."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("SEGMIND_API_KEY", raising=False)


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox that ``kandinsky_default`` leads to."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())
    return kandinsky_sandbox


@pytest.fixture
def given_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Put a connection into the environment.

    :return: its id.
    """

    def put(**fields: Any) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_GIVEN", json.dumps({"conn_type": "kandinsky"} | fields))
        return "given"

    return put


#: The blocking methods, and what their async twins are called.
TWINS = {
    "submit": "asubmit", "get_status": "aget_status", "get_result": "aget_result", "wait": "await_result",
    "generate": "agenerate", "get_credits": "aget_credits", "list_models": "alist_models",
    "get_spend": "aget_spend", "quote": "aquote",
    "test_connection": "atest_connection",
}  # fmt: skip


@pytest.fixture
def twins() -> dict[str, str]:
    return TWINS


class AsyncFace:
    """The async methods of a hook, called by the names of the blocking ones."""

    def __init__(self, hook: KandinskyHook, runner: asyncio.Runner) -> None:
        self.hook = hook
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self._runner.run(getattr(self.hook, TWINS[name])(*given, **named))


@pytest.fixture(params=["blocking", "async"])
def open_hook(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make a hook, once with each face; it is closed at the end."""
    hooks: list[KandinskyHook] = []
    with asyncio.Runner() as runner:

        def make(*conn_id: str) -> Any:
            hooks.append(KandinskyHook(*conn_id))
            return hooks[-1] if request.param == "blocking" else AsyncFace(hooks[-1], runner)

        yield make
        for hook in hooks:
            hook.__exit__()
            runner.run(hook.__aexit__())
