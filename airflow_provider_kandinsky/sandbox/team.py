"""Requests of team-mates, which the request history lists among one's own."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import replace

from airflow_provider_kandinsky.sandbox.jobs import INFERENCE_ERROR, Job
from airflow_provider_kandinsky.sandbox.settings import Settings


def with_team_mates(job: Job, number: int, settings: Settings) -> list[Job]:
    """A job, and the requests of team-mates that were accepted with it, in the order of the history.

    :param number: of earlier jobs; decides which kinds the team-mates' requests are.
    """
    foreign = [_foreign(job, number, index) for index in range(settings.history_foreign)]
    return [*foreign[::2], job, *foreign[1::2]]


def _foreign(job: Job, number: int, index: int) -> Job:
    make = _KINDS[(number + index) % len(_KINDS)]
    # The same in each answer, and in each run with the same ids.
    return replace(make(job), request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job.request_id}/{index}")))


def _completed_twin(job: Job) -> Job:
    """The same prompt and seed, sooner ready."""
    return replace(job, error=None, started_at=job.submitted_at, finished_at=job.submitted_at)


def _other_model(job: Job) -> Job:
    """A model that a filter by this one's name finds as well."""
    return replace(_completed_twin(job), model=f"{job.model}-lora")


def _failed_twin(job: Job) -> Job:
    return replace(_completed_twin(job), error=INFERENCE_ERROR)


def _endless(job: Job) -> Job:
    """Another prompt, pending for good."""
    return replace(job, payload={**job.payload, "prompt": "a team-mate's prompt"}, finished_at=math.inf)


_KINDS: tuple[Callable[[Job], Job], ...] = (_completed_twin, _other_model, _failed_twin, _endless)
