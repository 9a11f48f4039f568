"""Airflow's *Test* button: what it says, and that it costs nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox

Ask = Callable[..., Any]
GivenConnection = Callable[..., str]


@pytest.mark.parametrize(
    ("settings", "good", "sentence"),
    [
        ({"credits": 3.5, "free_credits": 0.25}, True, "The API key is good; 3.75 credits left"),
        ({"credits": 0}, True, "The API key is good; 0 credits left"),
        ({"credits": None}, True, "The API key is good; the service has no record of credits for it"),
        (
            {"api_keys": ["SG_other"]},
            False,
            "The API key is not good: The service rejected the API key: Unauthorized: invalid or missing API key",
        ),
    ],
    ids=["credits", "no credits left", "no record", "bad key"],
)
def test_test_connection_tells_what_the_service_says(
    open_hook: Ask, sandbox: Sandbox, settings: dict[str, Any], good: bool, sentence: str
) -> None:
    sandbox.configure(**settings)
    assert open_hook().test_connection() == (good, sentence)
    assert [call["call"] for call in sandbox.calls()] == ["credits"]


def test_test_connection_tells_an_unreachable_host(open_hook: Ask, given_connection: GivenConnection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    host = f"http://127.0.0.1:{port}"
    good, sentence = open_hook(given_connection(password="SG_x", host=host)).test_connection()
    assert not good
    assert sentence == (
        f"The service is out of reach at {host}: The service could not be reached at 127.0.0.1:{port} "
        "(ConnectError: Connection refused); nothing was sent"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "There is no API key: connection 'given' has no password, and SEGMIND_API_KEY is not set"),
        ({"password": "SG_x", "host": "http://h.example"}, "unencrypted"),
        ({"password": "SG_x", "extra": {"request_timeout": "soon"}}, "request_timeout='soon' is not allowed"),
    ],
    ids=["no key", "insecure", "bad extra"],
)
def test_test_connection_tells_what_is_wrong_with_the_connection(
    open_hook: Ask, given_connection: GivenConnection, fields: dict[str, Any], words: str
) -> None:
    good, sentence = open_hook(given_connection(**fields)).test_connection()
    assert not good
    assert words in sentence
    assert "SG_x" not in sentence


def test_the_environments_key_is_not_sent_to_another_host(
    open_hook: Ask, kandinsky_sandbox: Sandbox, given_connection: GivenConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", kandinsky_sandbox.api_key)
    good, sentence = open_hook(given_connection(host=kandinsky_sandbox.url)).test_connection()
    assert not good
    assert "connection 'given' has no password, and SEGMIND_API_KEY is sent to api.segmind.com only" in sentence
    assert kandinsky_sandbox.calls() == []


def test_a_password_comes_before_the_environment(
    open_hook: Ask, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_from_the_environment")
    assert open_hook().test_connection()[0]


def test_the_request_timeout_of_the_connection_counts(
    open_hook: Ask, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(request_timeout=0.1))
    sandbox.fault("credits", stall=2)
    good, sentence = open_hook().test_connection()
    assert (good, "(ReadTimeout)" in sentence) == (False, True)
