"""What the service gives, as typed values; what a caller sends is in ``segmind.request``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from airflow_provider_kandinsky.segmind.redaction import MARK

# Users import it from here.
from airflow_provider_kandinsky.segmind.request import TextToImageRequest as TextToImageRequest

#: An id from which the API key was redacted is not the id any more.
_REQUEST_ID: Final = re.compile(rf"(?!.*{re.escape(MARK)})[!-~]{{1,200}}")


def parse_request_id(value: object) -> str | None:
    """Check a request id, which becomes part of URLs and file names.

    :param value: as the service sent it.
    :return: the id, 1 to 200 printable ASCII characters without blanks; blanks around it are stripped. ``None`` if it
        is anything else.
    """
    text = value.strip() if isinstance(value, str) else ""
    return text if _REQUEST_ID.fullmatch(text) else None


class JobStatus(StrEnum):
    """The status of a job.

    The vendor documents four. Any other word is :attr:`UNKNOWN` and not terminal: if the service adds a status, the
    job is polled on, and its paid image is not lost.
    """

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def parse(cls, value: object) -> JobStatus:
        """Read a status as the service wrote it, in any letter case."""
        word = value.strip().upper() if isinstance(value, str) else ""
        return cls(word) if word in cls.__members__ else cls.UNKNOWN

    @property
    def is_terminal(self) -> bool:
        """Whether the status is final."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that the service has accepted. It is billed unless it fails.

    :param request_id: the service's id for the job; see :func:`parse_request_id`.
    :param status: its status when it was accepted.
    """

    request_id: str
    status: JobStatus = JobStatus.QUEUED


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its URL, or its decoded bytes where the service sent it in the body."""

    url: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The result of a completed job.

    :param request_id: the job; ``None`` from the blocking v1 call, which has no request id.
    :param model: the model's slug, where known.
    :param images: in the service's order, without repeats; at least one.
    :param seed: the seed that was used, where known.
    :param cost: in US dollars; ``None`` is unknown, never free.
    :param inference_time: seconds of generation.
    :param queue_time: seconds in the service's queue.
    :param total_time: seconds from submission to the end.
    :param metrics: the service's ``metrics`` as received.
    :param polls: how many polls it took, if the job was waited for.
    """

    request_id: str | None
    images: tuple[Image, ...]
    model: str | None = None
    seed: int | None = None
    cost: float | None = None
    inference_time: float | None = None
    queue_time: float | None = None
    total_time: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    polls: int | None = None

    @property
    def urls(self) -> list[str]:
        """The images' URLs, in the service's order."""
        return [image.url for image in self.images if image.url is not None]

    @property
    def has_image_data(self) -> bool:
        """Whether any image came as bytes; those never go through XCom or a trigger's event."""
        return any(image.data is not None for image in self.images)

    def with_seed(self, seed: int | None) -> GenerationResult:
        """A copy with the seed that was sent, if the service did not return the one it used."""
        return replace(self, seed=seed) if self.seed is None else self

    def generation(self) -> dict[str, Any]:
        """The value of the ``generation`` XCom: ids and numbers, no image."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "seed": self.seed,
            "cost": self.cost,
            "inference_time": self.inference_time,
            "queue_time": self.queue_time,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's event; images that came as bytes are left out."""
        return self.generation() | {"urls": self.urls, "total_time": self.total_time, "polls": self.polls}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationResult:
        """The inverse of :meth:`to_dict`; fields that this version does not know are ignored."""
        names = ("request_id", "model", "seed", "cost", "inference_time", "queue_time", "total_time", "polls")
        known: dict[str, Any] = {name: values.get(name) for name in names}
        return cls(images=tuple(Image(url=url) for url in values["urls"]), **known)


@dataclass(frozen=True, slots=True)
class Credits:
    """The balance of the account, in the vendor's credits.

    :param paid: credits that were paid for; ``None`` if the service has no record ("No credits found for the user").
    :param free: credits that were free.
    """

    paid: float | None
    free: float | None = None

    @property
    def total(self) -> float:
        """All credits that can still be spent."""
        return (self.paid or 0.0) + (self.free or 0.0)
