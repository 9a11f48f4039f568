"""The error of the index of stored images."""

from __future__ import annotations

from airflow_provider_kandinsky.segmind.errors import KandinskyError


class ReuseIndexError(KandinskyError):
    """The index of stored images cannot be read or written. What is not known to be stored is not submitted."""

    retryable = True


class ClaimedElsewhere(Exception):  # no error: the operator waits
    """Another task has claimed the same image.

    :param seconds: how long its claim lasts.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
