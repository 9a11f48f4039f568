"""A claim ends with what it was for: others wait for an image that is being made, and for nothing else."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.results.reuse_policy import ClaimPolicy
from airflow_provider_kandinsky.sandbox.client import Sandbox

from ..support.airflow_names import TaskDeferred
from ..support.task_instance import QUICK, SMALL, FakeTaskInstance, another_run, paint, paint_all

PATH = "{request_id}-{index}.{extension}"


def one(folder: Path, **arguments: Any) -> Any:
    return paint(**SMALL | {"output_path": f"file://{folder}/{PATH}", "reuse": True} | arguments)


def many(folder: Path, **arguments: Any) -> Any:
    prompt = arguments.pop("prompt", "a cat")
    return paint_all([prompt], **SMALL | {"output_path": f"file://{folder}/{PATH}", "reuse": True} | arguments)


each_kind = pytest.mark.parametrize("make", [one, many])


def claims(folder: Path) -> list[Path]:
    return list(folder.glob(".kandinsky/*/*.claim*"))


@each_kind
def test_a_used_up_budget_leaves_no_claim(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    with KandinskyHook(poll_policy=QUICK) as hook:
        hook.wait(hook.submit({"prompt": "earlier"}).request_id)
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(daily_budget=0.01))
    with pytest.raises(Exception, match="The daily budget is used up"):
        ti.run(make(tmp_path))
    assert sandbox.count_calls("submit") == 1
    assert claims(tmp_path) == []


def test_max_cost_leaves_no_claim(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    ti.run(one(tmp_path, max_cost=0.01))
    ti.clear()
    with pytest.raises(Exception, match=r"have reached max_cost=0\.01"):
        ti.run(one(tmp_path, prompt="a dog", max_cost=0.01))
    assert sandbox.count_calls("submit") == 1
    assert claims(tmp_path) == []


def test_max_cost_of_a_batch_leaves_no_claim(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    path = f"file://{tmp_path}/{PATH}"
    task = paint_all(["a cat", "a dog"], output_path=path, reuse=True, max_in_flight=1, max_cost=0.01, **SMALL)
    with pytest.raises(Exception, match=r"have reached max_cost=0\.01"):
        ti.run(task)
    assert sandbox.count_calls("submit") == 1
    assert claims(tmp_path) == []


@each_kind
@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_leaves_no_claim(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    status: int,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))
    sandbox.fault("submit", status=status)
    with pytest.raises(Exception, match="billed: no"):
        ti.run(make(tmp_path))
    assert not sandbox.submissions
    assert claims(tmp_path) == []


@each_kind
def test_a_job_that_failed_leaves_no_claim(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, make: Any) -> None:
    with pytest.raises(Exception, match="The job failed"):
        ti.run(make(tmp_path, prompt="[fail]"))
    assert claims(tmp_path) == []


@each_kind
def test_a_lost_response_keeps_the_claim(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, make: Any) -> None:
    """It may have been accepted: whoever else submits pays twice."""
    sandbox.fault("submit", drop=True, after=True)
    sandbox.fault("history", status=403, times=5)
    with pytest.raises(Exception, match="may have been accepted"):
        ti.run(make(tmp_path))
    (claim,) = claims(tmp_path)
    assert json.loads(claim.read_text())["lasts"] > 900


@each_kind
def test_of_a_task_that_was_killed_another_takes_over(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    tmp_path: Path,
    make: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed = make(tmp_path, deferrable=True, timeout=1)
    killed.claim_policy = ClaimPolicy(margin=1)
    with pytest.raises(TaskDeferred):  # and it never resumes
        killed.execute(ti.context_of(killed))
    (claim,) = claims(tmp_path)
    ends = claim.stat().st_mtime + json.loads(claim.read_text())["lasts"]

    other = make(tmp_path)
    other.claim_policy = ClaimPolicy(interval=0.1)
    another_run().run(other)
    assert time.time() >= ends
    assert len(sandbox.submissions) == 2
    assert re.search(r"waiting for (it|them), for \d s at most", capsys.readouterr().out)
    assert "Another task had claimed" in caplog.text
    assert "submitting in its place" in caplog.text
    assert claims(tmp_path) == []
