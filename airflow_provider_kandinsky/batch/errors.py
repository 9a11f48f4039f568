"""The errors of a batch."""

from __future__ import annotations

from airflow_provider_kandinsky.segmind.errors import KandinskyError


class BatchItemsFailedError(KandinskyError):
    """Some items of a batch failed, after all others were done."""

    aggregates_errors = True


class RequestsChangedError(KandinskyError):
    """The requests of a batch differ from those with which the try began. Nothing more of it is submitted."""
