"""What the connection form's test button says."""

from __future__ import annotations

from airflow_provider_kandinsky.hooks.connection import ConnectionSettings
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, KandinskyError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.schemas import Credits


def success_message(credits_left: Credits) -> str:
    """That the key is good, and what is left."""
    if credits_left.paid is None:
        return "The API key is good; the service has no record of credits for it"
    amount = f"{credits_left.total:,.4f}".rstrip("0").rstrip(".")
    return f"The API key is good; {amount} credits left"


def failure_message(error: KandinskyError, settings: ConnectionSettings | None) -> str:
    """Why the key could not be checked, or is no good."""
    if isinstance(error, AuthenticationError) and error.http_status is not None:
        return f"The API key was rejected: {error.message}"
    if isinstance(error, ServiceUnavailableError) and settings is not None:
        return f"Could not reach the service at {settings.base_url}: {error.message}"
    return error.message
