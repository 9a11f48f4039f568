"""The errors of the ledger and of limits to what is spent."""

from __future__ import annotations

from typing import Any

from airflow_provider_kandinsky.compat.airflow import AirflowException
from airflow_provider_kandinsky.segmind.errors import KandinskyError


class LedgerError(AirflowException):
    """The ledger cannot be read, so it is unknown what was paid for. Nothing was submitted; a retry reads it again."""


class CostLimitError(KandinskyError):
    """Nothing more is submitted, because the costs so far have reached ``max_cost``."""


class BudgetExceededError(KandinskyError):
    """The connection's ``daily_budget`` does not allow this submission today. Nothing was submitted.

    :param until: when the day ends, seconds since the epoch; ``None`` if no day allows it.
    """

    own_fields = frozenset({"until"})

    def __init__(self, message: str, *, until: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.until = until


def unreadable(place: str, error: Exception) -> LedgerError:
    """The error for a ledger that cannot be read, which is not an empty one.

    :param place: where it is kept, as the subject of a sentence.
    :param error: why.
    """
    return LedgerError(
        f"{place} could not be read ({type(error).__name__}), so it is not known what this task has already submitted. "
        "Nothing was submitted; a retry reads it again"
    )
