"""An accepted job and its status at any time."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from airflow_provider_kandinsky.sandbox.settings import Settings, Span
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import JobStatus

#: Pixels if no size is requested. An assumption: the vendor does not document it.
DEFAULT_SIDE = 512
#: The largest side that is painted.
MAX_SIDE = 2048
INFERENCE_ERROR = "Inference failed: the worker ran into an internal error."


@dataclass(frozen=True, slots=True)
class Job:
    """A job. Its times and result are decided when it is accepted, and its status follows from the clock, so nothing
    runs in the background.

    :param call: ``"submit"`` or ``"generate"``.
    :param payload: the parameters as sent.
    :param request: the parsed parameters; ``None`` if they are invalid.
    :param error: why it will fail; ``None`` if it will succeed.
    :param samples: the number of images it was asked for.
    :param seed: of its images.
    :param cost: dollars, billed unless it fails.
    """

    request_id: str
    call: str
    model: str
    payload: Mapping[str, Any]
    request: TextToImageRequest | None
    error: str | None
    samples: int
    seed: int
    cost: float
    submitted_at: float
    started_at: float
    finished_at: float

    def status(self, now: float) -> JobStatus:
        """Its status at ``now``."""
        if now < self.started_at:
            return JobStatus.QUEUED
        if now < self.finished_at:
            return JobStatus.PROCESSING
        return JobStatus.COMPLETED if self.error is None else JobStatus.FAILED

    @property
    def base64(self) -> bool:
        """Whether the result holds the images themselves."""
        return bool(self.request and self.request.base64)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its images, in pixels."""
        request = self.request
        sides = (request.img_width, request.img_height) if request else (None, None)
        # Of an unknown model any side is accepted, and painted within bounds.
        width, height = (min(max(side or DEFAULT_SIDE, 1), MAX_SIDE) for side in sides)
        return width, height

    @property
    def image_count(self) -> int:
        """The number of its images; 0 if it fails."""
        return self.samples if self.error is None else 0

    @property
    def image_names(self) -> list[str]:
        """The file names of its images; none if it fails."""
        return [f"{self.request_id}-{index}.png" for index in range(self.image_count)]


def _parse_parameters(payload: Mapping[str, Any], model: str) -> tuple[TextToImageRequest | None, str | None]:
    """Parse the parameters, and find out whether the job will fail."""
    try:
        if model == DEFAULT_MODEL and (unknown := payload.keys() - TextToImageRequest.model_fields.keys()):
            return None, f"Invalid value for {min(unknown)}: unknown parameter"
        request = TextToImageRequest.of(TextToImageRequest.arguments_in(payload), model=model)
    except BadRequestError:
        return None, _describe_invalid(payload, model)
    if "[blocked]" in request.prompt:
        return request, "The prompt was blocked by our content policy: NSFW content detected."
    if "[fail]" in request.prompt:
        return request, INFERENCE_ERROR
    return request, None


def _describe_invalid(payload: Mapping[str, Any], model: str) -> str:
    for name, value in payload.items():
        try:
            TextToImageRequest.of({"prompt": "a cat", **TextToImageRequest.arguments_in({name: value})}, model=model)
        except BadRequestError as error:
            expected = error.message.rpartition("it must be ")[2].removesuffix(". Nothing was submitted.")
            return f"Invalid value for {name}: expected {expected}"
    return "Invalid value for prompt: expected a string"


def create_job(
    call: str, model: str, payload: Mapping[str, Any], settings: Settings, *, now: float, number: int, cold: bool
) -> Job:
    """Create a job, and decide its times and result.

    :param number: of earlier jobs; with ``settings.seed`` it decides all random values.
    :param cold: whether it is the first job of its model.
    """
    request, error = _parse_parameters(payload, model)
    if error is None and settings.jobs_fail:
        error = INFERENCE_ERROR
    # One generator per job, so that its values do not depend on other jobs.
    rng = Random(f"{settings.seed}:job:{number}")
    started_at = now + _draw(settings.queue_time, rng) + (settings.cold_start if cold else 0.0)
    finished_at = started_at + _draw(settings.latency, rng)
    drawn_seed = rng.randrange(2**32)
    if rng.random() < settings.straggler_share:
        finished_at = started_at + _draw(settings.straggler_latency, rng)
    samples = (request.samples if request else None) or 1
    requested_seed = request.seed if request and request.seed is not None else -1
    return Job(
        request_id=str(uuid.uuid4()),
        call=call,
        model=model,
        payload=payload,
        request=request,
        error=error,
        samples=samples,
        seed=drawn_seed if requested_seed == -1 else requested_seed,
        # Rounded: as floats, three times 0.01 is not 0.03.
        cost=round(settings.price * samples, 6),
        submitted_at=now,
        started_at=started_at,
        finished_at=finished_at,
    )


def _draw(span: Span, rng: Random) -> float:
    return rng.uniform(*span) if isinstance(span, tuple) else span
