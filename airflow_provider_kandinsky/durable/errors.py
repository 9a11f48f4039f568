"""The error of the ledger."""

from __future__ import annotations

from airflow_provider_kandinsky.compat.airflow import AirflowException


class LedgerError(AirflowException):
    """The ledger cannot be read, so it is unknown what was paid for. Nothing was submitted; a retry reads it again."""


def unreadable(place: str, error: Exception) -> LedgerError:
    """The error for a ledger that cannot be read, which is not an empty one.

    :param place: where it is kept, as the subject of a sentence.
    :param error: why.
    """
    return LedgerError(
        f"{place} could not be read ({type(error).__name__}), so it is not known what this task has already submitted. "
        "Nothing was submitted; a retry reads it again"
    )
