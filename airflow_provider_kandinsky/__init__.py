"""Apache Airflow provider for Kandinsky image generation on Segmind."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """What Airflow discovers; it is called by every ``airflow`` command, so nothing is imported for it."""
    from airflow_provider_kandinsky.provider_info import PROVIDER_INFO

    return PROVIDER_INFO
