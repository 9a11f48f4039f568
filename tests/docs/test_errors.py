"""docs/errors.md has a section for each error that a user can meet, true to the code, and logs as they are."""

from __future__ import annotations

import ast
import itertools
import json
import logging
import re
import socket
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_kandinsky import exceptions
from airflow_provider_kandinsky.compat.airflow import AirflowException
from airflow_provider_kandinsky.links.documentation import error_url
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.waiting.poller import PollPolicy

from ..support.task_instance import FakeTaskInstance, MemoryStore, paint, paint_all
from .documentation import ROOT, blocks_of, read
from .test_docs import PACKAGE, pattern_of, words_of

PAGE = ROOT / "docs" / "errors.md"
#: Never raised by themselves, so they have no log.
ROOTS = {"KandinskyError", "JobError"}
NO_GRACE = PollPolicy(not_found_grace_period=0)


def sections() -> dict[str, str]:
    """The text of each section, by its heading."""
    _, *parts = re.split(r"^### (.+)$", read(PAGE), flags=re.MULTILINE)
    return {name: text.partition("\n## ")[0] for name, text in zip(parts[::2], parts[1::2], strict=True)}


def error_types() -> dict[str, type[Exception]]:
    return {name: getattr(exceptions, name) for name in exceptions.__all__ if name != "Billing"}


def test_every_error_has_a_section_and_every_section_an_error() -> None:
    assert sorted(sections()) == sorted(error_types())


@pytest.mark.parametrize("name", sorted(error_types()))
def test_a_section_says_of_money_and_retries_what_the_code_does(name: str) -> None:
    facts = dict(re.findall(r"^- \*\*(.+?)\*\*: (\w+)", sections()[name], re.MULTILINE))
    assert facts.keys() == {"Cause", "Money", "Retry", "Do"}
    error_type = error_types()[name]
    if name in ROOTS or not issubclass(error_type, KandinskyError):
        return
    # Of these two the instance says it, not the type.
    if name != "BatchItemsFailedError":
        assert facts["Money"] == error_type.billing, name
        assert (facts["Retry"] == "yes") == (error_type.retryable or name == "SubmissionUnknownError"), name


def test_the_link_of_an_error_leads_to_its_section() -> None:
    for name in error_types():
        url = error_url(name, "https://docs.test/en/")
        assert url is not None
        page, _, anchor = url.removeprefix("https://docs.test/en/").partition("#")
        assert (page, anchor) == (f"{PAGE.stem}.html", re.sub(r"\W", "", name.lower()))


@dataclass
class Run:
    """What a scenario needs to make a task fail."""

    sandbox: Sandbox
    ti: FakeTaskInstance
    monkeypatch: pytest.MonkeyPatch
    caplog: pytest.LogCaptureFixture
    folder: Path

    def earlier_try(self, task: Any) -> None:
        """A try that succeeds, and whose log is not shown."""
        self.ti.run(task)
        self.caplog.clear()

    def connect(self, *, host: str | None = None, password: str | None = None, **extra: Any) -> None:
        """Let the connection have other fields."""
        connection = json.loads(self.sandbox.connection(retry_timeout=0, **extra))
        connection |= {"host": host or connection["host"], "password": password or connection["password"]}
        self.monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", json.dumps(connection))

    def rendered(self, **arguments: Any) -> Any:
        """A task whose templates have rendered to this."""
        task = paint()
        for name, value in arguments.items():
            setattr(task, name, value)
        return task


SCENARIOS: dict[str, Callable[[Run], Any]] = {}


def scenario(scenario: Callable[[Run], Any]) -> Callable[[Run], Any]:
    SCENARIOS[scenario.__name__] = scenario
    return scenario


@scenario
def AuthenticationError(run: Run) -> None:
    run.connect(password="SG_another")
    run.ti.run(paint())


@scenario
def BadRequestError(run: Run) -> None:
    run.ti.run(run.rendered(samples="99"))


@scenario
def BatchItemsFailedError(run: Run) -> None:
    run.ti.run(paint_all(["a cat", "[blocked] a fox", "[fail] a dog"]))


@scenario
def BudgetExceededError(run: Run) -> None:
    run.connect(daily_budget=0.01)
    run.earlier_try(paint())
    run.ti.clear()
    run.ti.run(paint(prompt="another cat"))


@scenario
def ConfigurationError(run: Run) -> None:
    run.connect(host="http://api.segmind.test")
    run.ti.run(paint())


@scenario
def ContentBlockedError(run: Run) -> None:
    run.ti.run(paint(prompt="[blocked] a wolf"))


@scenario
def CostLimitError(run: Run) -> None:
    run.earlier_try(paint(seed=-1, max_cost=0.01))
    run.ti.clear()
    run.ti.run(paint(seed=-1, max_cost=0.01))


@scenario
def EmptyResultError(run: Run) -> None:
    run.sandbox.fault("result", body={"status": "COMPLETED", "outputs": []})
    run.ti.run(paint())


@scenario
def ImageNotStoredError(run: Run) -> None:
    (run.folder / "pictures").write_text("a file where the folder is to be")
    run.ti.run(paint(output_path=f"file://{run.folder}/pictures/{{request_id}}.png"))


@scenario
def ImageRefusedError(run: Run) -> None:
    run.sandbox.configure(public_url="https://elsewhere.example")
    run.ti.run(paint(output_path=f"file://{run.folder}"))


@scenario
def ImageUnavailableError(run: Run) -> None:
    run.connect()
    run.sandbox.configure(image_expiry=0)
    run.ti.run(paint(output_path=f"file://{run.folder}"))


@scenario
def IncompleteResultError(run: Run) -> None:
    run.sandbox.configure(history_image_lag=3600)
    run.earlier_try(paint(samples=2))
    run.sandbox.configure(expiry=0)
    run.ti.retry(after=3700)
    run.ti.run(paint(samples=2))


@scenario
def InsufficientCreditsError(run: Run) -> None:
    run.sandbox.configure(credits=0)
    run.ti.run(paint())


@scenario
def InvalidResponseError(run: Run) -> None:
    run.connect(daily_budget=1)
    run.sandbox.fault("history", times=9, body="<html>Welcome to the proxy</html>")
    run.ti.run(paint())


@scenario
def JobExpiredError(run: Run) -> None:
    from airflow.sdk import DAG

    from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

    sensor = KandinskyJobSensor(task_id="wait", dag=DAG("gallery"), request_id="2c7f-of-another-account", timeout=5)
    sensor.poll_policy = NO_GRACE
    run.ti.run(sensor)


@scenario
def JobFailedError(run: Run) -> None:
    run.ti.run(paint(prompt="[fail] a dog"))


@scenario
def JobRejectedError(run: Run) -> None:
    run.ti.run(paint(model_parameters={"prior_steps": "many"}))


@scenario
def JobTimeoutError(run: Run) -> None:
    run.sandbox.configure(latency=60)
    run.ti.run(paint(timeout=0.3, poll_interval=None))


@scenario
def LedgerError(run: Run) -> None:
    class BrokenStore(MemoryStore):
        def get(self, key: str) -> Any:
            raise ConnectionError("the API server is away")

    run.ti.store = BrokenStore()
    run.ti.run(paint())


@scenario
def MethodNotAllowedError(run: Run) -> None:
    run.sandbox.fault("submit", status=405, body="<html><title>405 Method Not Allowed</title></html>")
    run.ti.run(paint())


@scenario
def ModelNotFoundError(run: Run) -> None:
    run.ti.run(paint(model="kandinsky2.1-txt2img"))


@scenario
def ModelRetiredError(run: Run) -> None:
    run.sandbox.configure(retired_models=["kandinsky2.1-txt2im"])
    run.ti.run(paint())


@scenario
def PermissionDeniedError(run: Run) -> None:
    run.sandbox.configure(forbidden_keys=[run.sandbox.api_key])
    run.ti.run(paint())


@scenario
def RateLimitedError(run: Run) -> None:
    run.sandbox.fault("submit", status=429, headers={"retry-after": "40"})
    run.ti.run(paint())


@scenario
def RequestsChangedError(run: Run) -> None:
    class RendersAgain(KandinskyTextToImageBatchOperator):
        """As a template does that draws a number: each process that resumes has other requests."""

        numbers = itertools.count()

        def resume_execution(self, *arguments: Any) -> Any:
            self.requests = [f"a cat {next(self.numbers)}", "a dog"]
            return super().resume_execution(*arguments)

    task = paint_all(["a cat", "a dog"], deferrable=True, max_in_flight=1)
    task.__class__ = RendersAgain
    run.ti.run(task)


@scenario
def ReuseIndexError(run: Run) -> None:
    (run.folder / ".kandinsky").write_text("a file where the folder is to be")
    run.ti.run(paint(output_path=f"file://{run.folder}", reuse=True))


@scenario
def ServiceUnavailableError(run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    run.connect(host=f"http://127.0.0.1:{port}")
    run.ti.run(paint())


@scenario
def SubmissionUnknownError(run: Run) -> None:
    run.sandbox.configure(history_lag=60)
    run.sandbox.fault("submit", drop=True, after=True)
    run.ti.run(paint())


def log_of(run: Run, name: str) -> str:
    """The log of a failed task: this package's lines of the last try, and the exception, with … for what differs."""
    with run.caplog.at_level(logging.INFO), pytest.raises((KandinskyError, AirflowException)) as failure:
        SCENARIOS[name](run)
    records = [record for record in run.caplog.records if record.name.startswith("airflow_provider_kandinsky")]
    lines = [f"{record.levelname} - {record.getMessage()}" for record in records]
    lines.append(f"{type(failure.value).__name__}: {failure.value}")
    return "\n".join(shape(line, run) for line in lines)


def shape(line: str, run: Run) -> str:
    """A line with … for what differs from run to run."""
    line = re.sub(r"(What to do about \w+: ).*", r"\1…", line)
    for differs in (
        re.escape(str(run.folder)),
        r"(https?://)?127\.0\.0\.1:\d+",
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{20,}",
        r"\d{4}-\d\d-\d\dT[\d:.+Z-]+",
        r"(?<=with seed )\d+",
        r"(?<=/\.kandinsky/)[^)]*",
        r"\d+(?= s after)",
    ):
        line = re.sub(differs, "…", line)
    return line


@pytest.fixture
def run(
    kandinsky_sandbox: Sandbox,
    ti: FakeTaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> Run:
    run = Run(kandinsky_sandbox, ti, monkeypatch, caplog, tmp_path)
    run.connect()
    return run


@pytest.mark.parametrize("name", sorted(error_types().keys() - ROOTS))
def test_the_log_is_as_it_is_shown(name: str, run: Run) -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", sections()[name], re.DOTALL)
    # Long lines are folded.
    assert re.sub(r"\n +", " ", shown).strip() == log_of(run, name)


def test_every_block_is_a_log() -> None:
    assert len(blocks_of(PAGE)) == len(error_types()) - len(ROOTS)


def folded(log: str) -> str:
    """A log as the page shows it; for whoever adds a section."""
    return "\n".join(
        textwrap.fill(line, 118, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in log.splitlines()
    )


def raised() -> Iterator[tuple[str, str]]:
    """The types of errors and their messages, where both are written out."""
    for file in PACKAGE.rglob("*.py"):
        if {"gallery", "sandbox"} & set(file.relative_to(PACKAGE).parts):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if (
                    name in error_types() and any(character.isalpha() for character in words_of(first))
                ):
                    yield name, words_of(first)


def test_troubleshooting_links_each_message_to_its_section() -> None:
    lines = [line for line in read("docs/troubleshooting.md").splitlines() if line.startswith("| `")]
    patterns = {
        line: [pattern_of(message) for message in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", line)[1])]
        for line in lines
    }
    found = list(raised())
    assert len(found) > 40
    for name, message in found:
        of_message = [line for line in lines if any(re.search(each, message, re.DOTALL) for each in patterns[line])]
        assert any(f"(errors.md#{name.lower()})" in line for line in of_message), (name, message)
