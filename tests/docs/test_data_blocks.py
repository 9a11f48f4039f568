"""Every block of data is read by what reads it in earnest, and there is no block that nothing runs or reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import conf

from airflow_provider_kandinsky.durable.ledger import JobLedger, to_job_value
from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook

from .documentation import PAGES, Block, blocks, blocks_of, name_of, prose, read

READERS = {
    "bash": "test_shell_blocks.py runs it",
    "text": "test_shell_blocks.py holds it against the output of the block before it, test_errors.py against a log",
    "python": "test_python_blocks.py runs it",
    "json": "a connection or a record, below",
    "ini": "Airflow's configuration, below",
}


def exported_connections() -> Iterator[Any]:
    for block in blocks("bash"):
        for word in shlex.split(block.text, comments=True):
            name, _, value = word.partition("=")
            if name.startswith("AIRFLOW_CONN_"):
                yield pytest.param(value, id=str(block))
    for block in blocks("json"):
        if "conn_type" in block.text:
            yield pytest.param(block.text, id=str(block))


@pytest.mark.parametrize("written", list(exported_connections()))
def test_connections_can_be_read(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DOCUMENTED", written)
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_your_key")
    connection = KandinskyHook.get_connection("documented")
    assert connection.conn_type == "kandinsky"
    assert set(connection.extra_dejson) <= set(ConnectionSettings.model_fields)
    with KandinskyHook("documented") as hook:
        assert hook.settings.api_key in ("SG_your_key", "SG_sandbox")
        assert hook.get_conn().base_url in ("https://api.segmind.com", "http://127.0.0.1:8765")
        assert hook.settings.history_url is None or hook.settings.history_url.endswith("/request-history")


class StoreWith:
    """A task state store that holds what a page shows."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self, key: str) -> Any:
        assert key == "kandinsky_job"
        return self._value

    def set(self, key: str, value: Any) -> None:
        raise AssertionError("this is only for reading")

    def delete(self, key: str) -> None:
        raise AssertionError("this is only for reading")


@pytest.mark.parametrize("block", [block for block in blocks("json") if "conn_type" not in block.text], ids=str)
def test_records_can_be_read(block: Block) -> None:
    record = json.loads(block.text)
    read = JobLedger(StoreWith(record)).read().record
    assert read is not None
    # All that a record of a job without any trouble has.
    assert to_job_value(read) == record


@pytest.mark.parametrize("block", blocks("ini"), ids=str)
def test_settings_are_airflows(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are options that this Airflow knows, and it reads these values as what the options are."""
    settings = ConfigParser(interpolation=None)
    settings.read_string(block.text)
    readers = {"boolean": conf.getboolean, "integer": conf.getint, "float": conf.getfloat}
    for section in settings.sections():
        for option, value in settings[section].items():
            kind = conf.configuration_description[section]["options"][option]["type"]
            monkeypatch.setenv(f"AIRFLOW__{section.upper()}__{option.upper()}", value)
            assert str(readers.get(kind, conf.get)(section, option)) == value


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_reader(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= set(READERS)
    # Also those that are indented, or fenced in a way that is not looked for.
    fences = re.findall(r"^[ >]*(?:```|~~~)", read(page), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))
    assert not re.search(r"\n\n(?: {4,}|\t)\S", prose(page)), "an indented block of code"
