"""The links of the documentation lead somewhere, and its tables and what it quotes are the code's."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from documentation import PAGES, ROOT, name_of, prose, read

import airflow_provider_kandinsky
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator
from airflow_provider_kandinsky.retry_policy import KANDINSKY_RETRY_POLICY
from airflow_provider_kandinsky.segmind import errors
from airflow_provider_kandinsky.sensors.credits import KandinskyCreditsSensor
from airflow_provider_kandinsky.sensors.job import KandinskyJobSensor

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
        # Whether a lost submission can be settled is not for its type to tell.
        assert retried.startswith("yes") == (error_type.retryable or name == "SubmissionUnknownError"), name


def test_the_table_of_delays_is_the_policys() -> None:
    seconds = {"5 s": 5, "30 s": 30, "60 s": 60, "2 min": 120}
    told = {row[0].strip("`"): row[1] for row in rows("docs/how-to/retry.md", "A delay for each failure")}
    assert told.pop("all others") == "`retry_delay`"
    delays = {rule.exception.__name__: rule.retry_delay for rule in KANDINSKY_RETRY_POLICY.rules}
    assert {name: seconds[delay] for name, delay in told.items()} == {
        name: delay.total_seconds() for name, delay in delays.items()
    }


@pytest.mark.parametrize(
    ("page", "heading", "task_type"),
    [
        ("docs/operator.md", "Arguments", KandinskyTextToImageOperator),
        ("docs/batch.md", "Arguments", KandinskyTextToImageBatchOperator),
        ("docs/sensor.md", "Job", KandinskyJobSensor),
        ("docs/sensor.md", "Credits", KandinskyCreditsSensor),
    ],
)
def test_every_argument_is_told(page: str, heading: str, task_type: type) -> None:
    told = {name for row in rows(page, heading) for name in re.findall(r"`(\w+)`", row[0])}
    arguments = set(task_type.__init__.__kwdefaults__ or {}) | {
        name for name in ("prompt", "requests", "request_id", "minimum_credits") if name in task_type.template_fields
    }
    assert arguments - {"kwargs"} <= told


def test_every_field_of_the_connection_is_told() -> None:
    told = " ".join(row[0] for row in rows("docs/connection.md", "Connection"))
    assert all(f"`{name}`" in told for name in set(ConnectionSettings.model_fields) - {"base_url", "api_key"})


@cache
def sentences() -> list[str]:
    """Every string in the package, with what is filled in left out as ``…``."""
    found = []
    for module in Path(airflow_provider_kandinsky.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sd]", "…", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
    return found


def messages() -> list[str]:
    headings = re.findall(r"^## (.+)$", read("docs/troubleshooting.md"), re.MULTILINE)
    first_cells = [row[0] for heading in headings for row in rows("docs/troubleshooting.md", heading)]
    return [message for cell in first_cells for message in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("message", messages())
def test_quoted_messages_are_the_codes(message: str) -> None:
    # The text after the last colon is often put there by other code.
    pieces = ".*?".join(re.escape(piece) for piece in message.removesuffix(": …").split("…"))
    assert any(re.search(pieces, sentence, re.DOTALL) for sentence in sentences())
