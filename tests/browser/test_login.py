"""That the stand the other tests here look from is up, and whom it lets in."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("second airflow")]


def test_an_admin_sees_the_dags(page: Page) -> None:
    page.goto("/dags")
    expect(page.get_by_role("link", name="kandinsky_content_pipeline")).to_be_visible()


def test_an_outsider_gets_in_and_sees_none(page_as, airflow: LocalAirflow) -> None:
    page = page_as("outsider")
    page.goto("/dags")
    expect(page.get_by_text("Forbidden").first).to_be_visible()
    assert page.request.get(f"{airflow.base_url}/api/v2/dags").status == 403
