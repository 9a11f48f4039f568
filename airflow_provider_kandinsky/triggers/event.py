"""A job's outcome in the event of a trigger, and back in a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.http.results import get_finished_result
from airflow_provider_kandinsky.segmind.schemas import GenerationResult


def outcome_for_event(outcome: GenerationResult | KandinskyError) -> dict[str, Any]:
    """A job's outcome as an event holds it: its ``error``, its ``result``, or neither if the images came as bytes."""
    if isinstance(outcome, KandinskyError):
        return {"error": outcome.to_dict()}
    return {} if outcome.has_image_data else {"result": outcome.to_dict()}


def result_in_event(event: Mapping[str, Any], hook: KandinskyHook) -> GenerationResult:
    """The result in a trigger's event, back in a worker.

    :param hook: to fetch images that came as bytes.
    :raises KandinskyError: the error in the event.
    """
    if "error" in event:
        raise error_from_dict(event["error"])
    if "result" in event:
        return GenerationResult.from_dict(event["result"])
    # A sensor does not know when the job was submitted.
    result = hook.get_conn().call(get_finished_result, event["request_id"], None, submitted_at=time.time())
    return result.with_seed(event.get("seed"))
