"""Fetch the result of a job that is finished: it was paid for, so one refusal is not the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from airflow_provider_kandinsky.segmind.errors import JobError, KandinskyError
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient
from airflow_provider_kandinsky.segmind.schemas import GenerationResult

log = logging.getLogger(__name__)

#: For so many seconds a rejected key or another refusal is waited out; outages and rate limits as in any wait.
_REFUSALS_WAITED_OUT: Final = 60.0


async def get_finished_result(
    client: AsyncSegmindClient,
    request_id: str,
    model: str | None = None,
    *,
    submitted_at: float,
    clock: Callable[[], float] = time.time,
) -> GenerationResult:
    """Fetch the result of a job that is known to be finished; poll it if that fails for a reason that is not the job's.

    :param model: the slug, for the result.
    :param submitted_at: seconds since the epoch.
    :param clock: wall clock, seconds since the epoch.
    :raises JobError: what the service says of the job; or a JobTimeoutError, if no call succeeds.
    """
    try:
        return await client.get_result(request_id, model)
    except JobError:
        raise
    except KandinskyError as error:
        log.info("The result of request %s could not be fetched; asking again: %s", request_id, error)
    deadline = clock() + _REFUSALS_WAITED_OUT
    return await client.poll_until_done(request_id, model, submitted_at=submitted_at, deadline=deadline)
