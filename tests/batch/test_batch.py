"""Many generations in one task, in the worker and deferred."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, ObjectStoragePath

from airflow_provider_kandinsky.compat.airflow import AirflowFailException, AirflowTaskTimeout
from airflow_provider_kandinsky.exceptions import BatchItemsFailedError
from airflow_provider_kandinsky.operators.text_to_image_batch import SHARED_ARGUMENTS
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import RateLimitedError

from ..support.airflow_names import TaskDeferred
from ..support.execution_timeout import execution_timeout
from ..support.task_instance import SMALL, FakeTaskInstance, MemoryStore, cats, fire, paint_all

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def prompts_submitted(sandbox: Sandbox) -> list[str]:
    return [job["payload"]["prompt"] for job in sandbox.submissions]


@both_ways
def test_results_come_in_the_order_of_the_items(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    sandbox.configure(latency=(0, 0.3))
    rows = ti.run(paint_all(cats(30), max_in_flight=12, samples=2, deferrable=deferrable))

    submitted = {job["payload"]["prompt"]: job for job in sandbox.submissions}
    assert len(sandbox.submissions) == len(rows) == 30
    for row, prompt in zip(rows, cats(30), strict=True):
        request_id = submitted[prompt]["request_id"]
        assert row == {
            "urls": [f"{sandbox.url}/generations/{request_id}-{index}.png" for index in range(2)],
            "request_id": request_id,
            "seed": submitted[prompt]["payload"]["seed"],
            "cost": 0.02,
            "error": None,
        }
    assert ti.pushed == {
        "arguments": [submitted[f"cat {each}"]["payload"] for each in range(30)],
        "counts": {"items": 30, "succeeded": 30, "failed": 0, "reused": 0, "cost": 0.6},
    }
    # At least as often as 12 go into 30; once more if a hand-over came while few were done.
    assert ti.deferrals in ((3, 4) if deferrable else (0,))


def test_no_items_are_no_images(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    assert ti.run(paint_all([], deferrable=True)) == []
    assert sandbox.count_calls() == 0


def test_items_have_their_own_arguments(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    ti.run(paint_all(["a dog", {"prompt": "a cat", "samples": 2, "seed": 7, "scheduler": None}], scheduler="DDIM"))
    payloads = {job["payload"]["prompt"]: job["payload"] for job in sandbox.submissions}
    assert payloads["a cat"] == {"prompt": "a cat", "samples": 2, "seed": 7}
    assert payloads["a dog"] == {"prompt": "a dog", "scheduler": "DDIM", "seed": payloads["a dog"]["seed"]}


def test_all_errors_are_reported_before_anything_is_sent(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    rows = ["a cat", {"prompt": " "}, {"prompt": "a dog", "samples": 9}, {"prompt": "a newt", "colour": "red"}, 7]
    with pytest.raises(AirflowFailException) as failure:
        ti.run(paint_all(rows))

    for words in (
        "requests[1]: prompt=' ' is not allowed: it must be a string that is not blank",
        "requests[2]: samples=9 is not allowed: it must be an integer from 1 to 8",
        "requests[3]: colour is not a parameter",
        "requests[4]: 7 is not allowed: it must be a prompt or a mapping of parameters",
    ):
        assert words in str(failure.value)
    assert sandbox.count_calls() == 0


def test_of_many_errors_some_are_named_and_all_are_counted(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException, match=r"requests\[9\].*And 90 more\. Nothing was submitted"):
        ti.run(paint_all([""] * 100))


@pytest.mark.parametrize("requests", ["a cat", {"prompt": "a cat"}, None, 7])
def test_what_is_no_list_is_refused(sandbox: Sandbox, ti: FakeTaskInstance, requests: Any) -> None:
    with pytest.raises(AirflowFailException, match="is not allowed: it must be a list of prompts"):
        ti.run(paint_all(requests))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("poll_interval", 0),
        ("on_unknown_submit", "shrug"),
        ("on_item_failure", "shrug"),
        ("max_in_flight", 0),
        ("max_in_flight", 1001),
        ("max_xcom_items", -1),
        ("max_cost", 0),
        ("samples", 9),
    ],
)
def test_bad_settings_are_refused_when_the_dag_is_parsed(name: str, value: Any) -> None:
    with pytest.raises(AirflowFailException, match=f"{name}={value!r} is not allowed"):
        paint_all(cats(1), **{name: value})


def test_what_makes_the_images_is_templated(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    operator = paint_all([{"prompt": "{{ what }}"}, "a {{ what }}"], samples="{{ 1 + 1 }}")
    operator.render_template_fields({"what": "newt"})  # type: ignore[typeddict-item]  # a context of our own
    ti.run(operator)
    assert sorted(prompts_submitted(sandbox)) == ["a newt", "newt"]
    assert {"requests", *SHARED_ARGUMENTS, "model", "kandinsky_conn_id", "output_path"} == set(operator.template_fields)


@both_ways
def test_equal_items_with_a_seed_are_submitted_once(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    cat = {"prompt": "a cat", "seed": 7}
    rows = ti.run(paint_all([cat, "a dog", cat, {"prompt": "a cat", "seed": "7"}], deferrable=deferrable))

    assert len(sandbox.submissions) == 2
    assert rows[0] == rows[2] == rows[3]
    assert rows[0]["request_id"] != rows[1]["request_id"]
    assert ti.pushed["counts"] == {"items": 4, "succeeded": 4, "failed": 0, "reused": 0, "cost": 0.02}


def test_equal_items_without_a_seed_are_different_images(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    rows = ti.run(paint_all(["a cat", "a cat", {"prompt": "a cat", "seed": -1}, {"prompt": "a cat", "seed": -1}]))
    assert len({row["request_id"] for row in rows}) == len(sandbox.submissions) == 4
    assert rows[0]["seed"] != rows[1]["seed"]


@both_ways
def test_the_others_are_done_before_the_task_fails(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    prompts = ["[fail] cat", *cats(8), "[blocked] cat"]
    with pytest.raises(BatchItemsFailedError) as failure:
        ti.run(paint_all(prompts, deferrable=deferrable, max_in_flight=4))

    assert len(sandbox.submissions) == 10
    assert ti.pushed["counts"] == {"items": 10, "succeeded": 8, "failed": 2, "reused": 0, "cost": 0.08}
    message = str(failure.value)
    assert "2 of 10 items have failed, 8 are done at a cost of $0.08" in message
    assert "[0] JobFailedError: The job failed" in message
    assert "[9] ContentBlockedError" in message
    assert message.endswith("A retry goes on with the 1 that it may cure, and submits nothing else.")
    failed = {job["request_id"] for job in sandbox.submissions if job["payload"]["prompt"] in (prompts[0], prompts[9])}
    assert all(request_id in message for request_id in failed)


@both_ways
def test_failures_are_kept_where_that_is_wanted(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    rows = ti.run(paint_all(["a cat", "[blocked]"], on_item_failure="keep", deferrable=deferrable))
    assert [row["error"] and row["error"]["type"] for row in rows] == [None, "ContentBlockedError"]
    assert rows[1]["urls"] == []
    assert rows[1]["request_id"] in rows[1]["error"]["message"]
    assert ti.pushed["counts"]["failed"] == 1


def test_what_no_retry_can_cure_is_not_retried(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException, match=r"1 of 2 items have failed.*No retry can cure this"):
        ti.run(paint_all(["a cat", "[blocked]"]))


def test_a_refused_item_does_not_stop_the_others(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", status=400, body={"error": "no such thing"})
    rows = ti.run(paint_all(cats(3), on_item_failure="keep"))
    assert sorted(str(row["error"] and row["error"]["type"]) for row in rows) == ["BadRequestError", "None", "None"]


@both_ways
@pytest.mark.parametrize(
    ("status", "error"), [(401, "AuthenticationError"), (403, "PermissionDeniedError"), (410, "ModelRetiredError")]
)
def test_what_concerns_the_account_stops_the_batch_but_loses_nothing(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, status: int, error: str
) -> None:
    operator = paint_all(cats(50), max_in_flight=45, on_item_failure="keep", deferrable=deferrable)
    sandbox.fault("submit", status=status)
    with pytest.raises(
        AirflowFailException, match=rf"31 of 50 items have failed, 19 are done at a cost of \$0\.19.*{error}"
    ):
        ti.run(operator)
    rows = ti.pushed["return_value"]

    assert len(sandbox.submissions) == 19
    assert sorted({str(row["error"] and row["error"]["type"]) for row in rows}) == sorted({"None", error})
    assert ti.pushed["counts"] == {"items": 50, "succeeded": 19, "failed": 31, "reused": 0, "cost": 0.19}
    assert sandbox.count_calls("submit") == 20


def test_credits_that_run_out_stop_the_batch(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(credits=0.05)
    with pytest.raises(AirflowFailException, match=r"25 of 30 items have failed, 5 are done at a cost of \$0\.05"):
        ti.run(paint_all(cats(30)))
    assert sandbox.count_calls("submit") == 20


@both_ways
@pytest.mark.parametrize("why", ["credits", "max_cost"])
def test_what_is_used_up_fails_the_task_though_items_may_fail(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    # With several in flight, those that are submitted before all costs are known would come on top.
    arguments = {"max_cost": 0.05, "max_in_flight": 1} if why == "max_cost" else {}
    sandbox.configure(credits=0.05 if why == "credits" else 100)
    with pytest.raises(AirflowFailException, match="25 of 30 items have failed, 5 are done"):
        ti.run(paint_all(cats(30), on_item_failure="keep", deferrable=deferrable, **arguments))
    assert len([row for row in ti.pushed["return_value"] if row["urls"]]) == len(sandbox.submissions) == 5
    error = "CostLimitError" if why == "max_cost" else "InsufficientCreditsError"
    assert f"25 of 30 items have failed: 25 {error}" in caplog.text


@both_ways
def test_a_cost_limit_leaves_the_rest_out_and_says_so(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    with pytest.raises(AirflowFailException) as failure:
        ti.run(paint_all(cats(40), max_in_flight=10, max_cost=0.15, deferrable=deferrable))
    submitted = len(sandbox.submissions)
    # Exceeded by less than what may be in flight.
    assert 15 <= submitted < 25
    assert re.match(
        rf".*{40 - submitted} of 40 items have failed, {submitted} are done at a cost of \${submitted / 100:g}\b"
        r".*CostLimitError: It was left out, because the costs so far, \$0\.\d+, have reached max_cost=0\.15",
        str(failure.value),
    )
    # With a higher limit a clear submits the rest.
    ti.clear()
    assert len(ti.run(paint_all(cats(40), max_in_flight=10, max_cost=1, deferrable=deferrable))) == 40
    assert len(sandbox.submissions) == 40


@both_ways
def test_a_batch_that_costs_just_its_limit_succeeds(sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool) -> None:
    assert len(ti.run(paint_all(cats(4), max_cost=0.04, deferrable=deferrable))) == 4


@both_ways
def test_what_was_paid_before_a_clear_counts_for_the_limit(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    rows = [{"prompt": "a cat", "seed": -1}] * 2
    ti.run(paint_all(rows, max_cost=0.05, max_in_flight=1, deferrable=deferrable))
    ti.clear()
    assert len(ti.run(paint_all(rows, max_cost=0.05, max_in_flight=1, deferrable=deferrable))) == 2
    ti.clear()
    with pytest.raises(AirflowFailException, match=r"the costs so far, \$0\.05, have reached max_cost=0\.05"):
        ti.run(paint_all(rows, max_cost=0.05, max_in_flight=1, deferrable=deferrable))
    assert len(sandbox.submissions) == 5


def test_more_items_than_xcom_takes_need_an_output_path(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(AirflowFailException, match=r"11 requests need an output_path.*max_xcom_items=10"):
        ti.run(paint_all(cats(11), max_xcom_items=10))
    assert sandbox.count_calls() == 0


@both_ways
def test_images_and_a_manifest_are_stored(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool
) -> None:
    rows = ti.run(
        paint_all(cats(12), output_path=f"file://{tmp_path}", max_in_flight=5, deferrable=deferrable, **SMALL)
    )

    for row in rows:
        assert row["urls"] == [f"file://{tmp_path}/{row['request_id']}-0.png"]
        assert row["source_urls"] == [f"{sandbox.url}/generations/{row['request_id']}-0.png"]
        assert ObjectStoragePath(row["urls"][0]).read_bytes().startswith(b"\x89PNG")
    assert ti.pushed["manifest"] == f"file://{tmp_path}/manifest_gallery_manual__1_paint.jsonl"
    lines = ObjectStoragePath(ti.pushed["manifest"]).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        row | {"arguments": arguments} for row, arguments in zip(rows, ti.pushed["arguments"], strict=True)
    ]
    assert len(list(tmp_path.iterdir())) == 13
    assert {call["key_present"] for call in sandbox.calls("image")} == {False}


def test_above_the_limit_the_rows_are_in_the_manifest_alone(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path
) -> None:
    template = f"file://{tmp_path}/{{request_id}}/{{index}}.{{extension}}"
    assert ti.run(paint_all(cats(4), output_path=template, max_xcom_items=3)) is None
    assert list(ti.pushed) == ["counts", "manifest"]
    assert len(ObjectStoragePath(ti.pushed["manifest"]).read_text().splitlines()) == 4


@both_ways
def test_base64_goes_straight_to_files(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool
) -> None:
    arguments: dict[str, Any] = {"base64": True, "samples": 2, "output_path": f"file://{tmp_path}"} | SMALL
    rows = ti.run(paint_all(cats(10), deferrable=deferrable, **arguments))
    assert [len(row["urls"]) for row in rows] == [2] * 10
    assert all(ObjectStoragePath(uri).read_bytes().startswith(b"\x89PNG") for row in rows for uri in row["urls"])
    assert sandbox.count_calls("image") == 0
    ti.retry()
    assert ti.run(paint_all(cats(10), **arguments)) == rows


def test_images_that_come_as_bytes_need_a_place(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(output_shape="data-uri")
    with pytest.raises(AirflowFailException, match="The images came as bytes, which are not put into XCom"):
        ti.run(paint_all(cats(2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base64": True}, "base64=True needs an output_path"),
        (
            {"output_path": "file:///x/{index}.png"},
            "without {request_id} or {key} their images could overwrite each other",
        ),
        ({"output_path": "file:///x/{request_id}.png", "samples": 2}, "without {index}"),
        ({"output_path": "gopher://x"}, "cannot be written to"),
    ],
)
def test_images_without_a_place_of_their_own_are_refused(
    sandbox: Sandbox, ti: FakeTaskInstance, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowFailException) as failure:
        ti.run(paint_all(cats(2), **arguments))
    assert message in str(failure.value)
    assert sandbox.count_calls() == 0


def test_the_deferral_holds_ids_and_numbers(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(TaskDeferred) as deferral:
        paint_all(cats(2), deferrable=True, timeout=600).execute(ti.context)
    path, kwargs = deferral.value.trigger.serialize()
    assert path == "airflow_provider_kandinsky.triggers.batch.KandinskyBatchTrigger"
    assert sandbox.api_key not in str(kwargs)
    assert [set(job) for job in kwargs["jobs"]] == [{"request_id", "submitted_at", "deadline", "samples"}] * 2
    assert all(job["deadline"] == job["submitted_at"] + 600 for job in kwargs["jobs"])
    assert deferral.value.kwargs == {}


def test_the_event_is_compact(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    with pytest.raises(TaskDeferred) as deferral:
        paint_all(cats(20), deferrable=True).execute(ti.context)
    assert len(json.dumps(fire(deferral.value.trigger))) < 20 * 500


@pytest.fixture
def no_retries(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0))


LIMITED = {"status": 429, "headers": {"retry-after": "0"}}


@both_ways
@pytest.mark.usefixtures("no_retries")
def test_a_rate_limit_in_the_middle_ends_the_wave_and_not_the_batch(
    sandbox: Sandbox, ti: FakeTaskInstance, deferrable: bool
) -> None:
    sandbox.fault("submit", times=5, **LIMITED)
    rows = ti.run(paint_all(cats(45), deferrable=deferrable))
    assert len(rows) == len(sandbox.submissions) == 45
    assert all(row["error"] is None for row in rows)
    assert ti.deferrals == (2 if deferrable else 0)


@pytest.mark.usefixtures("no_retries")
def test_a_rate_limit_that_lets_nothing_through_holds_no_worker(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", times=6, **LIMITED)
    with pytest.raises(TaskDeferred) as deferral:
        paint_all(cats(3), deferrable=True).execute(ti.context)
    assert deferral.value.method_name == "execute_after_reset"
    with pytest.raises(RateLimitedError, match="Nothing is in flight; a retry goes on with the items"):
        ti.run(paint_all(cats(3)))
    assert len(paint_all(cats(3)).execute_after_reset(ti.context, event=None) or ()) == 3
    assert len(sandbox.submissions) == 3


@pytest.mark.parametrize("finished", [True, False])
def test_when_the_deferral_itself_times_out_there_is_one_last_poll(
    sandbox: Sandbox, ti: FakeTaskInstance, finished: bool
) -> None:
    sandbox.configure(latency=0 if finished else 60)
    operator = paint_all(cats(3), deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context)

    def resume() -> Any:
        return operator.resume_execution("__fail__", {"error": "Trigger timeout"}, ti.context)

    if finished:
        assert [row["error"] for row in resume()] == [None] * 3
    else:
        with pytest.raises(
            BatchItemsFailedError,
            match=r"JobTimeoutError: The job was not finished \d+ s after.*goes on with the 3 that",
        ):
            resume()
    assert sandbox.count_calls("status") == 3
    assert len(sandbox.submissions) == 3


def test_an_execution_timeout_tells_what_is_in_flight(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.configure(latency=60)
    billed = pytest.raises(AirflowTaskTimeout, match=r"3 requests of the batch may still be running.*re-attaches them")
    # The first call is for the price; several jobs are waited for by reading the history.
    with billed, execution_timeout(lambda: sandbox.count_calls("history") > 1):
        ti.run(paint_all(cats(3)))
    assert len(sandbox.submissions) == 3


def test_an_execution_timeout_during_the_submission_says_so(sandbox: Sandbox, ti: FakeTaskInstance) -> None:
    sandbox.fault("submit", stall=60)
    unknown = pytest.raises(AirflowTaskTimeout, match=r"Submissions were under way, which may have been accepted")
    asked = itertools.count()

    def others_are_accepted() -> bool:
        """And their responses are read: they were for a second and more."""
        return sandbox.count_calls("submit") == 19 and next(asked) > 50

    with unknown, execution_timeout(others_are_accepted):
        ti.run(paint_all(cats(20)))
    # What was accepted beside the one that hangs is known.
    assert sum("request_id" in record for record in ti.store.values["kandinsky_batch_0001"]) == 19
    ti.retry()
    ti.age(20)
    assert len(ti.run(paint_all(cats(20)))) == len(sandbox.submissions) == 20


def test_a_killed_task_says_that_its_jobs_may_be_billed(
    sandbox: Sandbox, ti: FakeTaskInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = paint_all(cats(3), deferrable=True)
    operator.on_kill()
    assert "billed" not in capsys.readouterr().out
    with pytest.raises(TaskDeferred):
        operator.execute(ti.context)
    operator.on_kill()
    assert "3 requests of the batch were not cancelled and may still be billed" in capsys.readouterr().out


@both_ways
def test_asset_events_tell_what_was_made(
    sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path, deferrable: bool
) -> None:
    asset = Asset("gallery")
    rows = ti.run(paint_all(cats(3), outlets=[asset], output_path=f"file://{tmp_path}", deferrable=deferrable))
    assert ti.outlet_events[asset].extra == {
        "request_ids": [row["request_id"] for row in rows],
        "uris": [row["urls"][0] for row in rows],
        "cost": 0.03,
        "counts": ti.pushed["counts"],
        "manifest": ti.pushed["manifest"],
    }


@pytest.mark.parametrize(
    ("call", "fault", "error"),
    [
        ("image", {"body": "<html>no image</html>"}, "ImageRefusedError"),
        ("image", {"status": 302, "headers": {"location": "https://evil.example/cat.png"}}, "ImageUnavailableError"),
        ("image", {"status": 404}, "ImageUnavailableError"),
        ("image", {"drop": True}, "ImageUnavailableError"),
        ("result", {"body": {"status": "COMPLETED", "output": "https://evil.example/cat.png"}}, "ImageRefusedError"),
        ("result", {"body": {"status": "COMPLETED", "output": "a cat"}}, "EmptyResultError"),
    ],
    ids=["html", "redirect", "404", "hung up", "foreign host", "no image"],
)
def test_a_bad_image_is_that_items_error(
    sandbox: Sandbox,
    ti: FakeTaskInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    fault: dict[str, Any],
    error: str,
) -> None:
    # Without a history, whose rows need no call for the result.
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", sandbox.connection(retry_timeout=0, history_url=""))
    sandbox.fault(call, **fault)
    rows = ti.run(paint_all(cats(4), output_path=f"file://{tmp_path}", on_item_failure="keep", deferrable=True))
    (bad,) = [row for row in rows if row["error"]]
    assert bad["error"]["type"] == error
    assert f"request {bad['request_id']}" in bad["error"]["message"]
    assert "billed: yes" in bad["error"]["message"]
    assert len(list(tmp_path.iterdir())) == 3 + 1  # the good ones and the manifest, nothing half-written


def test_two_runs_never_share_a_manifest(sandbox: Sandbox, ti: FakeTaskInstance, tmp_path: Path) -> None:
    """Nor does a long name keep it from being written, after all was paid."""
    for run_id in ("scheduled__2026-01-01T00:00:00+00:00", "scheduled__2026-01-01T00-00-00-00-00", "long" * 60):
        ti.run_id = run_id
        ti.store = MemoryStore()
        ti.run(paint_all(cats(1), output_path=f"file://{tmp_path}"))
    assert len(list(tmp_path.glob("manifest_*.jsonl"))) == 3
