"""Requests of team-mates, which the request history lists among one's own."""

from __future__ import annotations

import math
import uuid
from dataclasses import replace
from typing import Any

from airflow_provider_kandinsky.sandbox.jobs import INFERENCE_ERROR, Job
from airflow_provider_kandinsky.sandbox.settings import Settings


def with_team_mates(job: Job, number: int, settings: Settings) -> list[Job]:
    """A job, and the requests of team-mates that were accepted with it, in the order of the history.

    :param number: of earlier jobs; decides which kinds the team-mates' requests are.
    """
    foreign = [_foreign(job, number, index) for index in range(settings.history_foreign)]
    return [*foreign[::2], job, *foreign[1::2]]


def _foreign(job: Job, number: int, index: int) -> Job:
    completed = {"error": None, "started_at": job.submitted_at, "finished_at": job.submitted_at}
    kinds: tuple[dict[str, Any], ...] = (
        # The same prompt and seed, sooner ready.
        completed,
        # A model that a filter by this one's name finds as well.
        completed | {"model": f"{job.model}-lora"},
        completed | {"error": INFERENCE_ERROR},
        # Another prompt, pending for good.
        {"payload": {**job.payload, "prompt": "a team-mate's prompt"}, "finished_at": math.inf},
    )
    # The same in each answer, and in each run with the same ids.
    request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job.request_id}/{index}"))
    return replace(job, request_id=request_id, **kinds[(number + index) % len(kinds)])
