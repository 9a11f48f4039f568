"""The error of the ledger."""

from __future__ import annotations

from airflow_provider_kandinsky.compat.airflow import AirflowException


class LedgerError(AirflowException):
    """The ledger cannot be read, so it is unknown what was paid for. Nothing was submitted; a retry reads it again."""
