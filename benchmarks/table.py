"""How a benchmark reports what it has measured: a table to read, the same numbers as JSON, and the tables in the docs.

``python -m benchmarks.table`` writes the tables of all pages again, from the JSON that is there. In a page one is
between ``<!-- benchmark: NAME -->`` and ``<!-- end -->``; ``NAME [column; column] 4`` has these columns and
the first four rows only.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
RESULTS: Final = DOCS / "benchmarks"
#: What may not differ from the commit that a result names.
MEASURED: Final = ("airflow_provider_kandinsky", "benchmarks", "demo", "constraints.txt")

Rows = Mapping[str, Mapping[str, Any]]

_TABLE: Final = re.compile(r"(<!-- benchmark: (\w+)(?: \[(.+?)\] (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def publish(name: str, rows: Rows) -> None:
    """Print rows as a table, and write them to ``docs/benchmarks/{name}.json`` with what they were measured on.

    :param rows: what each row's name has for each column; all have the same columns.
    """
    lines = [["", *next(iter(rows.values()))], *([row, *map(str, values.values())] for row, values in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        print(first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"measured": _measured(), "rows": rows}, indent=2) + "\n")


def _measured() -> dict[str, Any]:
    changed = _git("status", "--porcelain", "--", *MEASURED)
    return {
        "commit": (_git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "airflow": version("apache-airflow"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def with_tables(page: str) -> str:
    """A page of the docs with its tables made from the JSON that is there."""
    return _TABLE.sub(lambda table: f"{table[1]}{_markdown(*table.group(2, 3, 4))}{table[5]}", page)


def pages() -> list[Path]:
    """The pages that may have tables."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def _markdown(name: str, chosen: str | None, count: str | None) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text())
    measured, rows = result["measured"], dict(list(result["rows"].items())[: int(count) if count else None])
    columns = chosen.split("; ") if chosen else list(next(iter(rows.values())))
    lines = ["| |" + "".join(f" {column} |" for column in columns), "|---|" + "---|" * len(columns)]
    lines += [f"| {row} |" + "".join(f" {_cell(cells[each])} |" for each in columns) for row, cells in rows.items()]
    where = f"Airflow {measured['airflow']}, Python {measured['python']}, {measured['cores']} cores"
    return "\n".join([*lines, "", f"Measured on {measured['date']} at `{measured['commit']}`: {where}.", ""])


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Write the tables of all pages."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := with_tables(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"Wrote the tables of {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
