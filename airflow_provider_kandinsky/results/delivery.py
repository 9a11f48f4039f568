"""How a worker delivers a result: into XCom, and to the user's own storage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.sdk import AssetAlias, Context

from airflow_provider_kandinsky.observability.metrics import JobMetrics
from airflow_provider_kandinsky.results.file_names import location
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse_entry import StoredRequest
from airflow_provider_kandinsky.results.storage import store
from airflow_provider_kandinsky.segmind.errors import BadRequestError, ImageRefusedError, KandinskyError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)

OnStored = Callable[[GenerationResult, Sequence[str]], None]


def deliver(
    result: GenerationResult,
    context: Context,
    output_path: str | None,
    downloads: Callable[[], DownloadPolicy],
    *,
    already_delivered: bool = False,
    on_stored: OnStored | None = None,
) -> list[str]:
    """Push the XComs of a generation, and store its images if there is an ``output_path``.

    :param output_path: where to store the images; see :class:`~.output_path.OutputPath`.
    :param downloads: says which images may be downloaded, and for how long; asked only where images are stored.
    :param already_delivered: whether it was delivered before; its metrics are then not counted again.
    :param on_stored: called with the result and the URIs when the images are stored.
    :return: what the task returns: the images' URLs, in the service's order; with an ``output_path`` the URIs of the
        stored ones, and the URLs under XCom ``source_urls``.
    :raises ImageRefusedError: the images came as bytes, which do not go into XCom, and there is no ``output_path``.
    """
    ti = context["ti"]
    generation, uris = result.generation(), result.urls
    try:
        if output_path is not None:
            ti.xcom_push(key="source_urls", value=result.urls)
            uris = _store(result, output_path, downloads())
            generation["locations"] = list(map(location, uris))
            if on_stored is not None:
                on_stored(result, uris)
    finally:
        ti.xcom_push(key="generation", value=generation)
    if output_path is None and result.has_image_data:
        raise image_bytes_without_output_path(result.request_id)
    add_outlet_event_extra(context, {"request_ids": [result.request_id], "uris": uris, "cost": result.cost})
    log.info(result.summary(uris))
    if not already_delivered:
        JobMetrics.of_task(ti, result.model).completed(result)
    return uris


def deliver_again(stored: StoredRequest, context: Context) -> list[str]:
    """Push the XComs of images that are stored, for which nothing was submitted.

    :return: what the task returns: their URIs.
    """
    ti, result = context["ti"], stored.result()
    extra = {"reused": True, "locations": list(map(location, stored.uris))}
    ti.xcom_push(key="source_urls", value=[])
    ti.xcom_push(key="generation", value=result.generation() | extra)
    extra = {"request_ids": [result.request_id], "uris": stored.uris, "cost": 0.0, "reused": True}
    add_outlet_event_extra(context, extra)
    log.info("Reused request %s: %d image(s), cost $0, at %s", result.request_id, len(stored.uris), stored.uris)
    return stored.uris


def _store(result: GenerationResult, output_path: str, downloads: DownloadPolicy) -> list[str]:
    try:
        path = OutputPath(output_path, len(result.images))
    except BadRequestError as error:
        # A sensor learns only now how many images there are.
        raise ImageRefusedError(error.message, request_id=result.request_id) from error
    (uris,) = store([result], path, downloads)
    if isinstance(uris, KandinskyError):
        raise uris
    return uris


def error_for_xcom(error: Exception) -> dict[str, str]:
    """An error as an XCom holds it: its ``type``, and its ``message`` in full."""
    return {"type": type(error).__name__, "message": str(error)}


def add_outlet_event_extra(context: Context, extra: Mapping[str, Any]) -> None:
    """Add to the ``extra`` of the task's asset events. Airflow reads it in the process in which the task ends, so call
    it there."""
    for outlet in context.get("outlets") or ():
        # An alias has no event of its own, only those that the user adds to it.
        if not isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].extra |= extra


def image_bytes_without_output_path(request_id: str | None) -> ImageRefusedError:
    """The error for images that came as bytes where there is no ``output_path``."""
    return ImageRefusedError(
        "The images came as bytes, which are not put into XCom. Give the task an output_path and clear it within the "
        "hour: the images are then stored, and nothing is submitted again",
        request_id=request_id,
    )
