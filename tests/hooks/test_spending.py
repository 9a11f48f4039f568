"""Where the money went: by day and model, each request once."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.spending import Spending, moment
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import ConfigurationError, JobFailedError, ServiceUnavailableError

MODEL = "kandinsky2.1-txt2im"
OTHER = "kandinsky2.2-txt2img"


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def generate(hook: KandinskyHook, prompt: str = "a cat", model: str = MODEL, **request: object) -> None:
    hook.get_result(hook.submit({"prompt": prompt, **request}, model).request_id)


def test_what_was_spent_is_summed_by_model_each_request_once(sandbox: Sandbox) -> None:
    sandbox.configure(models=[MODEL, OTHER])
    began = today()
    with KandinskyHook() as hook:
        generate(hook)
        generate(hook, samples=4)  # a row for each image, every one with the whole cost
        generate(hook, model=OTHER)
        with pytest.raises(JobFailedError):
            generate(hook, "[fail]")
        sandbox.configure(latency=60)
        hook.submit({"prompt": "not finished"})
        spent = hook.get_spend(began)
        assert asyncio.run(spend_async(began)) == spent
    day = began.date().isoformat()
    assert spent == [Spending(day, MODEL, 0.05, 4, 1, 1), Spending(day, OTHER, 0.01, 1, 0, 0)]


async def spend_async(since: datetime) -> list[Spending]:
    async with KandinskyHook() as hook:
        return await hook.aget_spend(since)


def test_requests_on_several_pages_count_once(sandbox: Sandbox) -> None:
    with KandinskyHook() as hook:
        for number in range(40):
            generate(hook, f"cat {number}", samples=7)
        calls = sandbox.count_calls("history")
        (spent,) = hook.get_spend(today())
        assert sandbox.count_calls("history") - calls >= 3
    assert (spent.requests, spent.dollars) == (40, pytest.approx(2.8))


def test_the_end_is_not_included(sandbox: Sandbox) -> None:
    with KandinskyHook() as hook:
        generate(hook)
        now = datetime.now(UTC) + timedelta(seconds=1)
        assert [each.requests for each in hook.get_spend(today(), now)] == [1]
        assert hook.get_spend(now, now + timedelta(days=1)) == []
        assert hook.get_spend(today() - timedelta(days=3), today()) == []
        assert [each.requests for each in hook.get_spend(date.fromtimestamp(time.time() - 86_400 * 2))] == [1]


def test_a_year_is_read_in_periods_that_the_service_takes(sandbox: Sandbox) -> None:
    with KandinskyHook() as hook:
        generate(hook)
        assert [each.requests for each in hook.get_spend(today() - timedelta(days=365))] == [1]


@pytest.mark.parametrize(("times", "day"), [("naive", True), ("date", True), ("epoch", True), ("none", False)])
def test_any_form_of_time_is_read(sandbox: Sandbox, times: str, day: bool) -> None:
    sandbox.configure(history_times=times)
    with KandinskyHook() as hook:
        generate(hook)
        (spent,) = hook.get_spend(today())
    assert spent == Spending(today().date().isoformat() if day else None, MODEL, 0.01, 1, 0, 0)


def test_without_a_history_it_is_an_error(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(history_url=None))
    with KandinskyHook() as hook, pytest.raises(ConfigurationError, match="There is no request history"):
        hook.get_spend(today())


def test_a_history_that_is_out_of_order_is_no_empty_one(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("history", status=503)
    with KandinskyHook() as hook, pytest.raises(ServiceUnavailableError):
        hook.get_spend(today())


def test_days_and_times_without_a_zone_are_utc() -> None:
    assert moment(date(2026, 1, 2)) == moment(datetime(2026, 1, 2)) == moment(datetime(2026, 1, 2, tzinfo=UTC))
