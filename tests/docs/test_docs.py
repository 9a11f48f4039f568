"""The links of the documentation lead somewhere, and its tables and what it quotes are the code's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import airflow_provider_kandinsky
from airflow_provider_kandinsky.compat.airflow import policies_can_reschedule
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.operators.review import KandinskyReviewOperator
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.retry_policy import KANDINSKY_RETRY_POLICY
from airflow_provider_kandinsky.segmind import errors
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

from .documentation import PAGES, ROOT, name_of, prose, read

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_pictures_are_small() -> None:
    assert all(picture.stat().st_size < 300_000 for picture in (ROOT / "docs" / "images").iterdir())


@every_page
def test_dotted_names_import(page: Path) -> None:
    for name in re.findall(r"\bairflow_provider_kandinsky(?:\.\w+)+", read(page)):
        module, _, attribute = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert hasattr(import_module(module), attribute), name


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their own headings."""
    _, _, section = read(page).partition(f"# {heading}\n")
    lines = re.split(r"^#+ ", section, flags=re.MULTILINE)[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    is_rule = [all(re.fullmatch(r"-+", cell) for cell in row) for row in cells]
    is_heading = [*is_rule[1:], False]
    return [row for index, row in enumerate(cells) if not is_rule[index] and not is_heading[index]]


def error_types() -> dict[str, type[errors.KandinskyError]]:
    return {
        name: each
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.KandinskyError)
    }


def test_the_table_of_errors_is_whole_and_true() -> None:
    table = {row[0].strip("`"): row for row in rows("docs/money.md", "Errors: billed, retried")}
    types = error_types()
    assert set(table) == set(types)
    for name, error_type in types.items():
        _, _, billed, retried = table[name]
        if name in ("KandinskyError", "JobError"):
            continue
        assert billed == error_type.billing, name
        # Whether a lost submission can be resolved is not for its type to say.
        assert retried.startswith("yes") == (error_type.retryable or name == "SubmissionUnknownError"), name


def test_the_table_of_delays_is_the_policys() -> None:
    seconds = {"5 s": 5, "30 s": 30, "60 s": 60, "2 min": 120, "10 min": 600, "60 min": 3600}
    reported = {row[0].strip("`"): row[1] for row in rows("docs/how-to/retry.md", "A delay for each failure")}
    assert reported.pop("all others") == "`retry_delay`"
    if not policies_can_reschedule():
        assert reported.pop("InsufficientCreditsError") == "10 min"
        assert reported.pop("BudgetExceededError") == "60 min"
    delays = {rule.exception.__name__: rule.retry_delay for rule in KANDINSKY_RETRY_POLICY.rules}
    assert {name: seconds[delay] for name, delay in reported.items()} == {
        name: delay.total_seconds() for name, delay in delays.items()
    }


@pytest.mark.parametrize(
    ("page", "heading", "task_type"),
    [
        ("docs/operator.md", "Arguments", KandinskyTextToImageOperator),
        ("docs/batch.md", "Arguments", KandinskyTextToImageBatchOperator),
        ("docs/how-to/review.md", "Arguments", KandinskyReviewOperator),
        ("docs/sensor.md", "Job", KandinskyJobSensor),
        ("docs/sensor.md", "Credits", KandinskyCreditsSensor),
    ],
)
def test_every_argument_is_told(page: str, heading: str, task_type: type) -> None:
    reported = {name for row in rows(page, heading) for name in re.findall(r"`(\w+)`", row[0])}
    arguments = set(task_type.__init__.__kwdefaults__ or {}) | {
        name for name in ("prompt", "requests", "request_id", "minimum_credits") if name in task_type.template_fields
    }
    assert arguments - {"kwargs"} <= reported


def test_every_field_of_the_connection_is_told() -> None:
    reported = " ".join(row[0] for row in rows("docs/connection.md", "Connection"))
    assert all(f"`{name}`" in reported for name in set(ConnectionSettings.model_fields) - {"base_url", "api_key"})


PACKAGE = Path(airflow_provider_kandinsky.__file__).parent


def words_of(node: ast.expr) -> str:
    """A string, with what is filled in left out as ``…``."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%[sdg]|%\.\d+f", "…", text)
        case ast.JoinedStr(values=parts):
            return "".join(words_of(part) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return words_of(left) + words_of(right)
    return "…"


@cache
def sentences() -> list[str]:
    """Every string in the package."""
    nodes = (node for file in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return [words_of(node) for node in nodes if isinstance(node, (ast.Constant, ast.JoinedStr))]


def messages() -> list[str]:
    headings = re.findall(r"^## (.+)$", read("docs/troubleshooting.md"), re.MULTILINE)
    first_cells = [row[0] for heading in headings for row in rows("docs/troubleshooting.md", heading)]
    return [message for cell in first_cells for message in re.findall(r"`([^`]+)`", cell)]


def pattern_of(message: str) -> str:
    # The text after the last colon is often put there by other code.
    return ".*?".join(re.escape(piece) for piece in message.removesuffix(": …").split("…"))


@pytest.mark.parametrize("message", messages())
def test_quoted_messages_are_the_codes(message: str) -> None:
    assert any(re.search(pattern_of(message), sentence, re.DOTALL) for sentence in sentences())


def told_to_users() -> Iterator[str]:
    """The messages of errors and warnings, where they are written out. The gallery and the sandbox show theirs on pages
    of their own."""
    reported = {
        *error_types(),
        "LedgerError",
        "BatchItemsFailedError",
        "BudgetExceededError",
        "CostLimitError",
        "RequestsChangedError",
        "ImportError",
        "warning",
    }
    reported |= {"AirflowTaskTimeout", "AirflowSensorTimeout"}
    for file in PACKAGE.rglob("*.py"):
        if {"gallery", "sandbox"} & set(file.relative_to(PACKAGE).parts):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if name in reported:
                    if any(character.isalpha() for character in words_of(first)):
                        yield words_of(first)


def test_troubleshooting_knows_every_message() -> None:
    patterns = [re.compile(pattern_of(message), re.DOTALL) for message in messages()]
    found = list(told_to_users())
    assert len(found) > 40
    assert [message for message in found if not any(pattern.search(message) for pattern in patterns)] == []
