"""The error of the index of stored images."""

from __future__ import annotations

from airflow_provider_kandinsky.segmind.errors import KandinskyError


class ReuseIndexError(KandinskyError):
    """The index of stored images cannot be read or written. What is not known to be stored is not submitted."""

    retryable = True
