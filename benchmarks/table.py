"""How a benchmark tells what it has measured: a table to read, and the same numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def publish(name: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows as a table and write them to ``results/{name}.json``.

    :param rows: what each row's name has for each column; all have the same columns.
    """
    lines = [["", *next(iter(rows.values()))], *([row, *map(str, values.values())] for row, values in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        print(first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")
