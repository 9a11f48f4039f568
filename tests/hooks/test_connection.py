"""A connection of Airflow, read into settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_kandinsky.hooks.connection import ConnectionSettings, warn_of_no_history
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError

GivenConnection = Callable[..., str]
ENVIRONMENT = {"SEGMIND_API_KEY": "SG_env"}


def read(extra: dict[str, Any] | None = None, environment: dict[str, str] | None = None, **fields: Any) -> Any:
    connection = Connection(conn_id="c", conn_type="kandinsky", **{"password": "SG_conn"} | fields)
    return ConnectionSettings.read(connection, extra or {}, environment or {})


@pytest.mark.parametrize(
    ("password", "environment", "key"),
    [
        ("SG_conn", {}, "SG_conn"),
        ("SG_conn", ENVIRONMENT, "SG_conn"),
        (" SG_conn\n", ENVIRONMENT, "SG_conn"),
        (None, ENVIRONMENT, "SG_env"),
        ("", ENVIRONMENT, "SG_env"),
        (" ", ENVIRONMENT, "SG_env"),
        (None, {"SEGMIND_API_KEY": " SG_env\n"}, "SG_env"),
    ],
)
def test_the_password_comes_before_the_environment(password: Any, environment: dict[str, str], key: str) -> None:
    assert read(password=password, environment=environment).api_key == key


VENDORS = [
    None, "", " ", "api.segmind.com", "https://api.segmind.com", "https://api.segmind.com/v1", "HTTPS://API.segmind.com:443",
]  # fmt: skip


@pytest.mark.parametrize("host", VENDORS, ids=repr)
def test_the_environments_key_goes_to_the_vendor(host: str | None) -> None:
    assert read(password=None, host=host, environment=ENVIRONMENT).api_key == "SG_env"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"host": "gateway.example"}, "gateway.example:443"),
        ({"host": "https://gateway.example:8443/v1"}, "gateway.example:8443"),
        ({"host": "gateway.example", "port": 8443}, "gateway.example:8443"),
        ({"host": "127.0.0.1", "port": 8765, "schema": "http"}, "127.0.0.1:8765"),
        ({"host": "api.segmind.com.example"}, "api.segmind.com.example:443"),
        ({"host": "api.segmind.com@gateway.example"}, "gateway.example:443"),
        ({"host": "https://user:secret@gateway.example"}, "gateway.example:443"),
        ({"host": "https://api.segmind.com:8443"}, "api.segmind.com:8443"),
        ({"host": "http://api.segmind.com"}, "api.segmind.com:80"),
    ],
    ids=str,
)
@pytest.mark.parametrize("password", [None, "", " "])
def test_the_environments_key_goes_nowhere_else(fields: dict[str, Any], place: str, password: str | None) -> None:
    with pytest.raises(AuthenticationError) as caught:
        read(password=password, environment=ENVIRONMENT, **fields)
    assert caught.value.message == (
        f"There is no API key for {place}: connection 'c' has no password, and SEGMIND_API_KEY is sent to "
        f"api.segmind.com only. Put the key for {place} into the connection's password"
    )
    assert read(environment=ENVIRONMENT, **fields).api_key == "SG_conn"


@pytest.mark.parametrize("environment", [{}, {"SEGMIND_API_KEY": ""}, {"SEGMIND_API_KEY": "  "}], ids=str)
def test_no_key_names_both_places(environment: dict[str, str]) -> None:
    with pytest.raises(AuthenticationError, match=r"connection 'c' has no password, and SEGMIND_API_KEY is not set"):
        read(password=None, environment=environment)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://api.segmind.com"),
        ({"host": " "}, "https://api.segmind.com"),
        ({"port": 80}, "https://api.segmind.com"),
        ({"host": "api.segmind.com"}, "https://api.segmind.com"),
        ({"host": "https://api.segmind.com/v1"}, "https://api.segmind.com/v1"),
        ({"host": "gateway.example", "port": 8443}, "https://gateway.example:8443"),
        ({"host": "127.0.0.1", "port": 8765, "schema": "http"}, "http://127.0.0.1:8765"),
        ({"host": "127.0.0.1", "port": 8765, "schema": "https"}, "https://127.0.0.1:8765"),
        ({"host": "https://gateway.example", "port": 443}, "https://gateway.example"),
        ({"host": "gateway.example/proxy", "port": 443}, "https://gateway.example/proxy"),
        ({"host": "127.0.0.1", "port": 80, "schema": "http"}, "http://127.0.0.1"),
        ({"host": "http://127.0.0.1", "port": 443}, "http://127.0.0.1:443"),
        ({"host": "gateway.example", "port": 0}, "https://gateway.example"),
        ({"host": "gateway.example", "schema": "public"}, "https://gateway.example"),
        ({"host": "http://127.0.0.1", "port": 8765}, "http://127.0.0.1:8765"),
        ({"host": "http://127.0.0.1:8765", "port": 1}, "http://127.0.0.1:8765"),
        ({"host": "http://127.0.0.1:8765", "schema": "https"}, "http://127.0.0.1:8765"),
    ],
    ids=str,
)
def test_host_port_and_schema_make_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    assert read(**fields).base_url == base_url


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_a_port_reaches_an_ipv6_address(host: str) -> None:
    assert read(host=host, port=8765, schema="http").base_url == "http://[::1]:8765"


def test_a_port_stands_before_the_path() -> None:
    assert read(host="http://127.0.0.1/segmind", port=8765).base_url == "http://127.0.0.1:8765/segmind"


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        ("kandinsky://:SG_x@127.0.0.1:8765/http", "http://127.0.0.1:8765"),
        ("kandinsky://http://:SG_x@127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("kandinsky://:SG_x@http%3A%2F%2F127.0.0.1%3A8765", "http://127.0.0.1:8765"),
        ("kandinsky://:SG_x@gateway.example", "https://gateway.example"),
        ("kandinsky://:SG_x@", "https://api.segmind.com"),
    ],
)
def test_connections_written_as_uri(monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AS_URI", uri)
    with KandinskyHook("as_uri") as hook:
        assert hook.get_conn().base_url == base_url
        assert hook.settings.api_key == "SG_x"


GOOD: list[tuple[str, Any, Any]] = [
    ("requests_per_minute", 60, 60.0),
    ("requests_per_minute", "0.5", 0.5),
    ("request_timeout", 12, 12.0),
    ("request_timeout", "1.5", 1.5),
    ("retry_timeout", "0", 0.0),
    ("history_url", "", ""),
    ("history_url", " ", ""),
    ("history_url", "Off", ""),
    ("history_url", "https://h/inference-request/request-history", "https://h/inference-request/request-history"),
    ("allow_insecure", True, True),
    ("allow_insecure", "false", False),
    ("image_hosts", "a.example, b.example ,", ["a.example", "b.example"]),
    ("image_hosts", ["a.example"], ["a.example"]),
    ("image_hosts", "A.example:8443, [::1]:9000, [::1]", ["a.example:8443", "[::1]:9000", "[::1]"]),
]
DEFAULTS = {
    "requests_per_minute": None, "request_timeout": 30.0, "retry_timeout": 20.0, "history_url": None,
    "allow_insecure": False, "image_hosts": [],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value", "setting"), GOOD, ids=[f"{name}={value!r}" for name, value, _ in GOOD])
def test_extras_are_read(name: str, value: Any, setting: Any) -> None:
    assert getattr(read({name: value}), name) == setting


#: An empty history URL turns it off; all else that is empty was left empty.
LEFT_EMPTY = {name: "" for name in DEFAULTS if name != "history_url"}


@pytest.mark.parametrize("extra", [{}, dict.fromkeys(DEFAULTS), LEFT_EMPTY, {"colour": "blue"}], ids=str)
def test_what_is_not_given_has_its_default(extra: dict[str, Any]) -> None:
    settings = read(extra)
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("extra", [{"api_key": "SG_other"}, {"base_url": "https://evil.example"}], ids=str)
def test_extras_cannot_replace_key_or_host(extra: dict[str, Any]) -> None:
    settings = read(extra)
    assert (settings.api_key, settings.base_url) == ("SG_conn", "https://api.segmind.com")


BAD: list[tuple[str, Any, str]] = [
    ("requests_per_minute", 0, "a number above 0"),
    ("requests_per_minute", "-1", "a number above 0"),
    ("requests_per_minute", "many", "a number above 0"),
    ("requests_per_minute", "nan", "a number above 0"),
    ("request_timeout", 0, "a number of seconds above 0"),
    ("request_timeout", "soon", "a number of seconds above 0"),
    ("request_timeout", [1], "a number of seconds above 0"),
    ("retry_timeout", -1, "a number of seconds from 0 to 20"),
    ("retry_timeout", 21, "a number of seconds from 0 to 20"),
    ("history_url", 5, "a URL, or 'off'"),
    ("allow_insecure", "maybe", "true or false"),
    *(
        ("image_hosts", value, "host names, perhaps with a port, comma-separated")
        for value in (5, "https://a.example", "a.example/c", "me@a.example", "a.example:port", "::1", "*")
    ),
]


def expect_refusal(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({name: value})
    assert caught.value.message == f"Connection 'c': {name}={value!r} is not allowed: it must be {allowed}"
    assert "SG_conn" not in repr(caught.value)


@pytest.mark.parametrize(("name", "value", "allowed"), BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD])
def test_unusable_extras_are_named_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    expect_refusal(name, value, allowed)


@pytest.mark.parametrize("value", [True, "inf"])
@pytest.mark.parametrize("name", ["request_timeout", "requests_per_minute"])
def test_true_and_infinity_are_no_settings(name: str, value: Any) -> None:
    expect_refusal(name, value, "a number of seconds above 0" if name == "request_timeout" else "a number above 0")


def test_a_bad_url_is_told_when_the_client_is_made(given_connection: GivenConnection) -> None:
    for fields in ({"host": "http://api.segmind.com"}, {"extra": {"history_url": "http://history.example"}}):
        with pytest.raises(ConfigurationError, match="unencrypted"):
            KandinskyHook(given_connection(password="SG_x", **fields)).get_conn()


def test_insecure_hosts_can_be_allowed(given_connection: GivenConnection) -> None:
    conn_id = given_connection(password="SG_x", host="http://gateway.example", extra={"allow_insecure": True})
    with KandinskyHook(conn_id) as hook:
        assert hook.get_conn().base_url == "http://gateway.example"


@pytest.mark.parametrize(
    ("extra", "has_history"),
    [({}, True), ({"history_url": None}, True), ({"history_url": ""}, False), ({"history_url": "off"}, False)],
    ids=str,
)
def test_the_vendors_history_is_asked_unless_it_is_turned_off(
    given_connection: GivenConnection, extra: dict[str, Any], has_history: bool
) -> None:
    with KandinskyHook(given_connection(password="SG_x", extra=extra)) as hook:
        assert hook.get_conn().has_history is has_history
    with KandinskyHook(given_connection(password="SG_x", host="gateway.example", extra=extra)) as hook:
        assert not hook.get_conn().has_history


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("", {"images.segmind.com", "api.segmind.com", "b.example:8443"}),
        ("gateway.example:8443", {"images.segmind.com", "gateway.example", "b.example:8443"}),
        ("http://127.0.0.1:8765", {"images.segmind.com", "127.0.0.1:8765", "b.example:8443"}),
        ("http://[::1]", {"images.segmind.com", "[::1]:80", "b.example:8443"}),
        ("https://h:port", {"images.segmind.com", "b.example:8443"}),
    ],
)
def test_images_may_come_from_port_443_or_the_port_of_a_service_on_this_machine(host: str, allowed: set[str]) -> None:
    assert read({"image_hosts": "b.example:8443"}, host=host).all_image_hosts == allowed


def test_a_connection_that_is_not_there_is_final(open_hook: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="There is no connection 'nowhere'; create it") as caught:
        open_hook("nowhere").get_credits()
    assert not caught.value.retryable


def test_without_a_history_the_first_submission_says_what_a_lost_answer_means(
    open_hook: Callable[..., Any],
    kandinsky_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_no_history.cache_clear()
    for conn_id, extra in {"WITHOUT": {"history_url": ""}, "WITH": {}}.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", kandinsky_sandbox.connection(**extra))

    def warned() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    open_hook("with").submit({"prompt": "a cat"})
    open_hook("without").get_credits()
    assert warned() == []
    for _ in range(2):
        open_hook("without").submit({"prompt": "a cat"})
    (sentence,) = warned()
    assert "'without' has no request history: if the answer to a submission is lost, it stays unknown" in sentence
