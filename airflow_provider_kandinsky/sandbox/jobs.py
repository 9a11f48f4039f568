"""One accepted job: what was asked, and where it stands at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from airflow_provider_kandinsky.sandbox.settings import Settings, Span
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.schemas import JobStatus, TextToImageRequest

#: What the service paints when no side is asked for; an assumption, the vendor's page does not say.
DEFAULT_SIDE = 512
_MISHAP = "Inference failed: the worker ran into an internal error."


@dataclass(frozen=True, slots=True)
class Job:
    """Its whole life is settled when it is accepted: where it stands is read off the clock, so that nothing has to
    run in the background and a thousand jobs cost no more than one.

    :param call: ``"submit"`` or ``"generate"``.
    :param payload: the parameters as they were sent.
    :param request: the parameters as they are understood; ``None`` if they make no sense.
    :param error: why it will fail, ``None`` if it will not.
    :param seed: the seed it is painted with.
    :param cost: dollars, billed unless it fails.
    """

    request_id: str
    call: str
    model: str
    payload: Mapping[str, Any]
    request: TextToImageRequest | None
    error: str | None
    seed: int
    cost: float
    submitted_at: float
    started_at: float
    finished_at: float

    def status(self, now: float) -> JobStatus:
        """Where it stands at ``now``."""
        if now < self.started_at:
            return JobStatus.QUEUED
        if now < self.finished_at:
            return JobStatus.PROCESSING
        return JobStatus.COMPLETED if self.error is None else JobStatus.FAILED

    @property
    def base64(self) -> bool:
        """Whether the pictures were asked for in the body."""
        return bool(self.request and self.request.base64)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels."""
        request = self.request
        return (request and request.img_width) or DEFAULT_SIDE, (request and request.img_height) or DEFAULT_SIDE

    @property
    def image_names(self) -> list[str]:
        """The file names of its pictures; none if it fails."""
        if self.request is None or self.error is not None:
            return []
        return [f"{self.request_id}-{index}.png" for index in range(self.request.samples or 1)]


def understand(payload: Mapping[str, Any]) -> tuple[TextToImageRequest | None, str | None]:
    """Read the parameters as the worker does: after they were accepted, and failing by name."""
    try:
        request = TextToImageRequest(**payload)
    except BadRequestError:
        return None, _which_is_wrong(payload)
    if "[blocked]" in request.prompt:
        return request, "The prompt was blocked by our content policy: NSFW content detected."
    if "[fail]" in request.prompt:
        return request, _MISHAP
    return request, None


def _which_is_wrong(payload: Mapping[str, Any]) -> str:
    for name, value in payload.items():
        try:
            TextToImageRequest(**{"prompt": "a cat", name: value})
        except BadRequestError:
            field = TextToImageRequest.model_fields.get(name)
            return f"Invalid value for {name}: " + (f"expected {field.description}" if field else "unknown parameter")
    return "Invalid value for prompt: expected a string"


def accept(
    request_id: str,
    *,
    call: str,
    model: str,
    payload: Mapping[str, Any],
    now: float,
    number: int,
    cold: bool,
    settings: Settings,
) -> Job:
    """Settle a job's life.

    :param number: how many jobs came before; with ``settings.seed`` it decides everything that is drawn.
    :param cold: whether it is the first job of its model.
    """
    request, error = understand(payload)
    if error is None and settings.jobs_fail:
        error = _MISHAP
    # A generator of its own: what one job draws must not depend on what its neighbours drew.
    rng = Random(f"{settings.seed}:job:{number}")
    started_at = now + _draw(settings.queue_time, rng) + (settings.cold_start if cold else 0.0)
    finished_at = started_at + _draw(settings.latency, rng)
    drawn_seed = rng.randrange(2**32)
    asked_seed = request.seed if request and request.seed is not None else -1
    return Job(
        request_id=request_id,
        call=call,
        model=model,
        payload=payload,
        request=request,
        error=error,
        seed=drawn_seed if asked_seed == -1 else asked_seed,
        # Rounded, since three times 0.01 is not 0.03 to a float.
        cost=round(settings.price * ((request.samples if request else None) or 1), 6),
        submitted_at=now,
        started_at=started_at,
        finished_at=finished_at,
    )


def _draw(span: Span, rng: Random) -> float:
    return rng.uniform(*span) if isinstance(span, tuple) else span
