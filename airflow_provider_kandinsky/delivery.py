"""How a result reaches XCom."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_kandinsky.segmind.schemas import GenerationResult

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def deliver(result: GenerationResult, context: Context) -> list[str]:
    """Push what is told about a generation, and give what the task returns.

    :return: the pictures' URLs, in the service's order.
    """
    cost = "unknown" if result.cost is None else f"${result.cost:g}"
    log.info("Request %s gave %d picture(s); cost: %s", result.request_id, len(result.images), cost)
    context["ti"].xcom_push(key="generation", value=result.generation())
    return result.urls
