"""The connection form and its Test button, used as a person does."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.sdk import Connection
from playwright.sync_api import Locator, Page, Route, expect

from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.local_airflow import LocalAirflow

from .screenshots import Screenshot

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("second airflow")]

KEY = "SG_to_be_seen_by_nobody"
EXTRAS = CONNECTION_TYPE["conn-fields"]


@pytest.fixture(autouse=True)
def _no_connections_are_left(airflow: LocalAirflow) -> Iterator[None]:
    yield
    for connection in airflow.api("GET", "/connections")["connections"]:
        airflow.api("DELETE", f"/connections/{connection['connection_id']}")


@pytest.fixture
def answers(page: Page) -> list[str]:
    """What the API server sends to the browser, as it comes."""
    bodies: list[str] = []

    def overhear(route: Route) -> None:
        answer = route.fetch()
        bodies.append(answer.text())
        route.fulfill(response=answer)

    page.route(lambda url: "/api/v2/" in url or "/ui/" in url, overhear)
    return bodies


def add(page: Page, connection_id: str) -> Locator:
    """Open the form for a new connection of our type."""
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(connection_id)
    form.get_by_role("combobox").fill("kandinsky")
    page.get_by_role("option", name="Kandinsky (Segmind)").click()
    return form


def edit(page: Page, connection_id: str) -> Locator:
    """Open the form of a connection that is there."""
    page.goto("/connections")
    row(page, connection_id).get_by_role("button", name="Edit Connection").click()
    return page.get_by_role("dialog")


def save(form: Locator) -> Any:
    """Save the form.

    :return: the extra, as it is sent.
    """
    page = form.page
    with page.expect_request(lambda request: request.method in ("POST", "PATCH")) as sent:
        form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    return json.loads(sent.value.post_data_json["extra"])


def show_extras(form: Locator) -> None:
    # Since Airflow 3.4 they are shown from the start, under the name of the type.
    hidden, shown = form.get_by_role("button", name="Extra Fields", exact=True), form.get_by_text("Requests per minute")
    expect(hidden.or_(shown).first).to_be_visible()
    if hidden.is_visible():
        hidden.click()
    expect(form.get_by_text("Requests per minute")).to_be_visible()


def extra_field(form: Locator, name: str) -> Locator:
    labelled = form.get_by_role("group").filter(has=form.page.get_by_text(EXTRAS[name]["label"], exact=True))
    return labelled.get_by_role("textbox").or_(labelled.get_by_role("spinbutton"))


def save_by_rest(airflow: LocalAirflow, connection_id: str, **fields: Any) -> None:
    airflow.create_connection(connection_id, "kandinsky", **{"port": 443} | fields)


def row(page: Page, connection_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=connection_id, exact=True))


def press_test(page: Page, connection_id: str) -> None:
    page.goto("/connections")
    row(page, connection_id).get_by_role("button", name="Test Connection").click()


def notice_of(page: Page, title: str) -> Locator:
    """What a notification of this title says below it."""
    return page.get_by_role("status", name=title)


def settings(extra: dict[str, Any]) -> ConnectionSettings:
    return ConnectionSettings.read(Connection(conn_id="c", conn_type="kandinsky", password=KEY), extra, {})


def test_the_form_asks_for_what_is_used(page: Page, screenshot: Screenshot) -> None:
    form = add(page, "kandinsky_default")
    region = form.get_by_role("region", name="Standard Fields")
    heading = form.get_by_role("heading", name="Standard Fields")
    # Since Airflow 3.4 it is no region, but what follows the heading.
    standard = region.or_(heading.locator("xpath=.."))
    expect(standard.locator("label")).to_have_text(["Description", "Base URL", "API key", "Port"])
    expect(standard.get_by_label("Base URL")).to_have_attribute("placeholder", "https://api.segmind.com")
    key = standard.get_by_label("API key")
    key.fill(KEY)
    expect(key).to_have_attribute("type", "password")
    screenshot("connection-form", form, shows=[standard, key, form.get_by_role("button", name="Save")])


def test_every_extra_has_a_label_and_says_what_it_is_for(page: Page) -> None:
    form = add(page, "described")
    show_extras(form)
    for field in EXTRAS.values():
        expect(form.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(form.get_by_text(field["description"])).to_be_visible()


def test_saved_and_opened_again_all_is_there_but_the_key(page: Page, sandbox: Sandbox, answers: list[str]) -> None:
    form = add(page, "full")
    form.get_by_label("Description").fill("The plan with 50 a minute")
    form.get_by_label("Base URL").fill(sandbox.url)
    form.get_by_label("API key").fill(KEY)
    show_extras(form)
    typed = {
        "requests_per_minute": "49.5",
        "request_timeout": "12",
        "history_url": sandbox.history_url,
        "image_hosts": "a.example, b.example",
    }
    for name, text in typed.items():
        extra_field(form, name).fill(text)
    form.get_by_text("Allow insecure").click()
    expect(form.get_by_role("checkbox", name="Allow insecure")).to_be_checked()
    sent = save(form)

    form = edit(page, "full")
    expect(form.get_by_label("Description")).to_have_value("The plan with 50 a minute")
    expect(form.get_by_label("Base URL")).to_have_value(sandbox.url)
    form.get_by_role("button", name="Show value").click()
    expect(form.get_by_label("API key")).to_have_value("***")
    show_extras(form)
    for name, text in typed.items():
        expect(extra_field(form, name)).to_have_value(text)
    expect(form.get_by_role("checkbox", name="Allow insecure")).to_be_checked()

    assert any("full" in answer for answer in answers)
    assert not any(KEY in answer for answer in answers)
    read = settings(sent)
    assert (read.requests_per_minute, read.request_timeout) == (49.5, 12)
    assert (read.history_url, read.allow_insecure) == (sandbox.history_url, True)
    assert read.image_hosts == ["a.example", "b.example"]


def test_what_is_left_empty_or_emptied_has_its_default(page: Page) -> None:
    form = add(page, "empty")
    show_extras(form)
    untouched = save(form)
    form = edit(page, "empty")
    show_extras(form)
    for name, text in {"requests_per_minute": "5", "image_hosts": "a.example", "history_url": "off"}.items():
        extra_field(form, name).fill(text)
    filled = settings(save(form))
    assert (filled.requests_per_minute, filled.history_url) == (5, "")
    form = edit(page, "empty")
    show_extras(form)
    for name in ("requests_per_minute", "image_hosts", "history_url"):
        extra_field(form, name).fill("")
    # An empty text would turn the history off.
    assert settings(untouched) == settings(save(form)) == settings({})


def test_an_edit_leaves_the_key_alone(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    sandbox.configure(api_keys=[KEY])
    save_by_rest(airflow, "kept", host=sandbox.url, password=KEY)
    form = edit(page, "kept")
    form.get_by_label("Description").fill("Edited")
    show_extras(form)
    extra_field(form, "request_timeout").fill("20")
    save(form)
    press_test(page, "kept")
    expect(notice_of(page, "Test Connection Successful")).to_be_visible()
    expect(row(page, "kept")).to_contain_text("Edited")


def test_the_button_tells_of_a_good_key(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, screenshot: Screenshot
) -> None:
    sandbox.configure(credits=42)
    host, _, port = sandbox.url.rpartition(":")
    save_by_rest(airflow, "segmind", host=host, port=int(port), password=sandbox.api_key)
    page.set_viewport_size({"width": 1200, "height": 420})
    press_test(page, "segmind")
    notice = notice_of(page, "Test Connection Successful")
    expect(notice).to_contain_text("The API key is good; 42 credits left")
    expect(row(page, "segmind").get_by_role("button", name="Test").locator("svg")).to_have_css(
        "color", "rgb(0, 128, 0)"
    )
    screenshot("connection-test", shows=[notice, row(page, "segmind")])


def test_the_button_tells_of_a_bad_key(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    save_by_rest(airflow, "bad", host=sandbox.url, password="SG_of_somebody_else")
    press_test(page, "bad")
    expect(notice_of(page, "Test Connection Failed")).to_contain_text(
        "The API key was rejected: The service rejected the API key: Unauthorized: invalid or missing API key"
    )
    expect(row(page, "bad").get_by_role("button", name="Test").locator("svg")).to_have_css("color", "rgb(255, 0, 0)")


def test_the_button_tells_of_an_unreachable_host(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    save_by_rest(airflow, "nobody", host=f"http://127.0.0.1:{port}", password=sandbox.api_key)
    press_test(page, "nobody")
    expect(notice_of(page, "Test Connection Failed")).to_contain_text(
        f"Could not reach the service at http://127.0.0.1:{port}: "
        f"The service could not be reached at 127.0.0.1:{port} (ConnectError: Connection refused); nothing was sent"
    )


def test_only_two_releases_of_airflow_want_a_port(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    save_by_rest(airflow, "without", host=sandbox.url, password=sandbox.api_key, port=None)
    press_test(page, "without")
    refused = airflow_version in ("3.3.1", "3.3.2")
    notice = notice_of(page, "Test Connection Failed" if refused else "Test Connection Successful")
    expect(notice).to_contain_text("Bad Request" if refused else "The API key is good")
