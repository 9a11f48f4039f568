"""What the hook says: at the Test button, and in the log before it submits."""

from __future__ import annotations

import logging
from functools import cache
from typing import Final

from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, KandinskyError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.schemas import Credits

log = logging.getLogger(__name__)

BUDGET_NEEDS_HISTORY: Final = (
    "daily_budget needs a request history, which says what was spent, and the connection has none: set history_url. "
    "Nothing was submitted"
)


@cache
def warn_without_history(conn_id: str) -> None:
    """Warn once per process, before anything is submitted, what a lost response will mean."""
    log.warning(
        "Connection %r has no request history: if the response to a submission is lost, it stays unknown whether it "
        "was accepted and billed, and the task fails rather than pay twice. Set history_url in the connection's extra",
        conn_id,
    )


def result_of_test(credits_left: Credits, settings: ConnectionSettings, *, has_history: bool) -> tuple[bool, str]:
    """For the Test button: the key works; whether the rest does."""
    if settings.daily_budget is not None and not has_history:
        return False, BUDGET_NEEDS_HISTORY
    if credits_left.paid is None:
        return True, "The API key is good; the service has no record of credits for it"
    amount = f"{credits_left.total:,.4f}".rstrip("0").rstrip(".")
    return True, f"The API key is good; {amount} credits left"


def failure_message(error: KandinskyError, settings: ConnectionSettings | None) -> str:
    """For the Test button: why the connection cannot be used.

    :param settings: the connection's, if it could be read.
    """
    if isinstance(error, AuthenticationError) and error.http_status is not None:
        return f"The API key was rejected: {error.message}"
    if isinstance(error, ServiceUnavailableError) and settings is not None:
        return f"Could not reach the service at {settings.base_url}: {error.message}"
    return error.message
