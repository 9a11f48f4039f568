"""A real Airflow, and a browser that a person could sit at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import running_sandbox
from demo.local_airflow import LocalAirflow

from ..support.auth_manager import ENVIRONMENT, WITHOUT_XCOMS
from ..support.one_airflow import only_airflow
from . import screenshots

EXAMPLE_DAGS = Path(__file__).parents[2] / "example_dags"
TEST_DAGS = Path(__file__).with_name("dags")

#: By name, the role: ``viewer`` may read all but connections, ``outsider`` may log in and see nothing.
USERS = {"admin": "ADMIN", "colleague": "ADMIN", "viewer": "VIEWER", WITHOUT_XCOMS: "VIEWER", "outsider": ""}

NO_CHROMIUM = (
    "There is no Chromium on the PATH. Debian and Ubuntu: apt-get install chromium. "
    "Any other is named by KANDINSKY_CHROMIUM=/path/to/it."
)

# In milliseconds. The machine may be busy with the pictures, and Airflow's pages are large.
RETRY_POLICY = 60_000
expect.set_options(timeout=RETRY_POLICY)

PageAs = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is. Without it the tests here are skipped, but never in CI."""
    found = os.environ.get("KANDINSKY_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(NO_CHROMIUM)
    pytest.skip(NO_CHROMIUM)


@pytest.fixture(scope="session")
def _sandbox(chromium: str) -> Iterator[Sandbox]:
    with running_sandbox(latency=1) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    """The sandbox of :func:`airflow`, as new for each test."""
    _sandbox.reset()
    return _sandbox


@pytest.fixture(scope="session")
def airflow(_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """A running Airflow with the example DAGs and those of ``dags`` beside this file.

    Its ``kandinsky_default`` leads to the sandbox, the Test button of its connections is enabled, and who wants in has
    to log in; see :data:`USERS`.
    """
    home = tmp_path_factory.mktemp("browser")
    for folder in filter(Path.exists, (EXAMPLE_DAGS, TEST_DAGS)):
        shutil.copytree(folder, home / "dags", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    products = json.dumps({"conn_type": "sqlite", "host": str(home / "products.db")})
    env = ENVIRONMENT | {
        "AIRFLOW_CONN_KANDINSKY_DEFAULT": _sandbox.connection(),
        "AIRFLOW_CONN_PRODUCTS_DB": products,
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "KANDINSKY_OUTPUT_FOLDER": str(tmp_path_factory.mktemp("output")),
    }
    with only_airflow(LocalAirflow(home, parallelism=2, env=env, users=USERS)) as airflow:
        yield airflow


# One for each module: while Playwright runs, this thread has a running event loop, and tests elsewhere start theirs.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without its sandbox, as root cannot have one; it only ever opens pages of this machine.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _logged_in() -> dict[str, StorageState]:
    """The cookies of those who have logged in."""
    return {}


@pytest.fixture
def page_as(browser: Browser, airflow: LocalAirflow, _logged_in: dict[str, StorageState]) -> Iterator[PageAs]:
    """Open a window of its own for a user who has logged in by Airflow's form; paths are below Airflow's URL.

    ``page_as("viewer", color_scheme="dark")`` takes what :meth:`playwright.sync_api.Browser.new_context` does.
    """
    contexts = []

    def open_page(user: str = "admin", **options: Any) -> Page:
        context = browser.new_context(
            base_url=airflow.base_url,
            storage_state=_logged_in.get(user),
            locale="en-US",
            timezone_id="UTC",
            **{
                "viewport": {"width": 1200, "height": 800},
                "device_scale_factor": 1.5,
                "reduced_motion": "reduce",
                "color_scheme": "light",
            }
            | options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(RETRY_POLICY)
        if user not in _logged_in:
            page.goto("/")
            page.get_by_label("Username").fill(user)
            page.get_by_label("Password").fill(airflow.passwords[user])
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{airflow.base_url}/")
            _logged_in[user] = context.storage_state()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(page_as: PageAs) -> Page:
    """An admin's window."""
    return page_as()


@pytest.fixture
def screenshot(page: Page) -> screenshots.Screenshot:
    """Hold the admin's window against ``docs/images/<name>.png``; see :func:`screenshots.picture`."""

    def take(name: str, part: Any = None, **options: Any) -> None:
        screenshots.picture(page, name, part, **options)

    return take


@pytest.fixture(scope="module")
def run_id(airflow: LocalAirflow) -> str:
    """A finished run of ``postcards``."""
    run_id = airflow.trigger_dag("postcards")
    assert airflow.wait_for_run("postcards", run_id) == "success"
    return run_id
