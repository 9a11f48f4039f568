"""How a result reaches XCom, and the user's own storage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_kandinsky.segmind.downloads import IMAGE_HOST
from airflow_provider_kandinsky.segmind.errors import ImageRefusedError
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.storage import OutputPath, store

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook

log = logging.getLogger(__name__)


def deliver(result: GenerationResult, context: Context, hook: KandinskyHook, output_path: str | None) -> list[str]:
    """Push what is told about a generation, store its pictures if asked to, and give what the task returns.

    :param output_path: where to store the pictures; see :class:`~.storage.OutputPath`.
    :return: the pictures' URLs, in the service's order; with an ``output_path`` the URIs of the stored ones, and the
        URLs under XCom ``source_urls``.
    :raises ImageRefusedError: pictures came as bytes, which do not go into XCom, and there is no ``output_path``.
    """
    cost = "unknown" if result.cost is None else f"${result.cost:g}"
    log.info("Request %s gave %d picture(s); cost: %s", result.request_id, len(result.images), cost)
    ti = context["ti"]
    ti.xcom_push(key="generation", value=result.generation())
    if output_path is None:
        if result.has_image_data:
            raise ImageRefusedError(
                "The pictures came as bytes, which are not put into XCom. Give the task an output_path and clear it "
                "within the hour: what was bought is then stored",
                request_id=result.request_id,
            )
        return result.urls
    ti.xcom_push(key="source_urls", value=result.urls)
    hosts = {IMAGE_HOST, urlsplit(hook.settings.base_url).hostname or "", *hook.settings.image_hosts}
    return store(result, OutputPath(output_path, len(result.images)), hosts)
