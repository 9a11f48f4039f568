"""The table of the chaos suite: what was broken, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass
class Row:
    """One kind of fault.

    :param runs: DAG runs that had to live through it.
    :param tasks: their task instances that buy a picture.
    :param accepted: POSTs that the sandbox has accepted, and a service would have billed.
    :param lost: pictures that were paid for and did not reach XCom.
    """

    fault: str
    runs: int
    tasks: int
    accepted: int
    lost: int


#: Of the test that runs.
ROWS: list[Row] = []


def table(rows: Iterable[Row]) -> list[str]:
    """The rows as lines of text, under their headings."""
    headings = ("fault", "runs", "tasks", "accepted POSTs", "lost results")
    lines = [headings, *(tuple(map(str, astuple(row))) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
