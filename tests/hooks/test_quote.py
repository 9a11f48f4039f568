"""What a batch would cost, before anything is submitted."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.exceptions import BadRequestError
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.hooks.quote import Quote
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import SMALL, FakeTaskInstance, cats, paint, paint_all

PATH = "{request_id}-{index}.{extension}"


def ask(*arguments: Any, is_async: bool, **options: Any) -> Quote:
    async def aquote() -> Quote:
        async with KandinskyHook() as hook:
            return await hook.aquote(*arguments, **options)

    if is_async:
        return asyncio.run(aquote())
    with KandinskyHook() as hook:
        return hook.quote(*arguments, **options)


both_ways = pytest.mark.parametrize("is_async", [False, True])


@both_ways
def test_what_is_stored_costs_nothing(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, is_async: bool) -> None:
    path = f"file://{tmp_path}/{PATH}"
    ti.run(paint_all(["a cat", "a dog"], output_path=path, reuse=True, **SMALL))
    options: dict[str, Any] = {"output_path": path, "reuse": True, "is_async": is_async} | SMALL
    quote = ask(["a cat", "a dog", "an owl", "an owl"], **options)
    assert quote == Quote(items=4, reused=2, to_submit=1, unit_price=0.01, total=0.01)
    calls = sandbox.count_calls("history")
    assert ask(["a cat"], **options) == Quote(items=1, reused=1, to_submit=0, unit_price=None, total=0.0)
    assert sandbox.count_calls("history") == calls
    assert len(sandbox.submissions) == 2


@both_ways
def test_an_unknown_price_is_none(sandbox: Sandbox, ti: FakeTaskInstance, is_async: bool) -> None:
    ti.run(paint(**SMALL))
    assert ask(["a cat"], is_async=is_async, samples=3, **SMALL) == Quote(1, 0, 1, None, None)
    assert ask(["a cat", {"prompt": "b", "samples": 3}], is_async=is_async, **SMALL).total is None


@both_ways
def test_what_is_refused_is_not_quoted(sandbox: Sandbox, is_async: bool) -> None:
    with pytest.raises(BadRequestError, match="samples=9"):
        ask([{"prompt": "a", "samples": 9}], is_async=is_async)
    with pytest.raises(BadRequestError, match="reuse=True needs an output_path"):
        ask(["a"], is_async=is_async, reuse=True)


@pytest.mark.parametrize(("make", "items"), [(paint, 1), (lambda **arguments: paint_all(["a", "b"], **arguments), 2)])
def test_a_dry_run_logs_its_quote_and_submits_nothing(
    sandbox: Sandbox, make: Any, items: int, capsys: pytest.CaptureFixture[str]
) -> None:
    make(**SMALL).dry_run()
    assert f"Nothing was submitted. Quote: {items} items, 0 reused, {items} to submit" in capsys.readouterr().out
    assert not sandbox.submissions


def test_a_batch_logs_its_quote(sandbox: Sandbox, ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ti.run(paint_all(["a", "b"], **SMALL))
    assert "Quote: 2 items, 0 reused, 2 to submit, price unknown, total: unknown" in caplog.text


def test_a_failing_history_does_not_stop_a_batch(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("history", status=403)
    assert len(ti.run(paint_all(["a", "b"], **SMALL))) == 2


@pytest.mark.parametrize("fault", [{"status": 503}, {"stall": 60.0}], ids=["away", "hanging"])
def test_no_batch_waits_for_its_price(
    sandbox: Sandbox, ti: FakeTaskInstance, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    """It is only logged. With the retries of other calls it would hold each batch for 20 s, and hanging for minutes."""
    caplog.set_level(logging.INFO)
    sandbox.fault("history", times=1000, **fault)
    with pytest.raises(TaskDeferred):
        paint_all(cats(2), deferrable=True).execute(ti.context)
    assert "2 to submit, at a price that the request history could not be asked for" in caplog.text
    assert "did not respond within 2 s" in caplog.text
    assert len(sandbox.submissions) == 2
