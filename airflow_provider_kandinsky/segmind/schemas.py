"""What travels between a caller and the service, as typed values.

The ranges are those of the vendor's page for the model. Anything that leaves them is refused here,
before a request is made: an accepted request costs money even if its parameters make no sense.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.redaction import MARK

DEFAULT_MODEL: Final = "kandinsky2.1-txt2im"

#: How long the service keeps what it knows of a job, in seconds from its submission.
RECORD_LIFETIME: Final = 3600.0
#: How long it keeps the pictures, in seconds; reported, not documented.
IMAGE_LIFETIME: Final = 7 * 24 * 3600.0

#: Those that Airflow can carry from a task to where XComs are kept. Of another one its worker dies.
INTEGERS: Final = range(-(2**63), 2**64)

#: What the key was struck out of is not the id any more.
_REQUEST_ID: Final = re.compile(rf"(?!.*{re.escape(MARK)})[!-~]{{1,200}}")

SCHEDULERS: Final = ("DDIM", "P-Sampler")
IMAGE_SIDES: Final = (512, 1024)


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError
    return value


def _no_bool(value: Any) -> Any:
    """``True`` is an ``int`` to Python and to pydantic; ``samples=True`` is still a mistake."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004  pydantic collects ValueError and lets TypeError through
    return value


def _encodable(value: str) -> str:
    """Half of a surrogate pair is a string to Python, and nothing that JSON can be sent with; NUL is nothing that a
    database takes."""
    if "\0" in value:
        raise ValueError
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError from None
    return value


def _one_of(allowed: tuple[Any, ...]) -> AfterValidator:
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError
        return value

    return AfterValidator(check)


_Text = Annotated[str, AfterValidator(_encodable)]
_Scheduler = Annotated[str, _one_of(SCHEDULERS)]
_Side = Annotated[int, BeforeValidator(_no_bool), _one_of(IMAGE_SIDES)]
_Samples = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=8)]
_Steps = Annotated[int, BeforeValidator(_no_bool), Field(ge=10, le=40)]
_Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=-1, lt=INTEGERS.stop)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]


def refusals(model: type[BaseModel], error: ValidationError) -> str:
    """Name each refused field, its value and what is allowed, which is the field's description."""
    return "; ".join(_refusal(model, details) for details in error.errors(include_url=False))


def _refusal(model: type[BaseModel], details: ErrorDetails) -> str:
    name = str(details["loc"][0]) if details["loc"] else "request"
    if name not in model.model_fields:
        return f"{name} is not a parameter; there are {', '.join(model.model_fields)}"
    allowed = model.model_fields[name].description
    if details["type"] == "missing":
        return f"{name} is missing: it must be {allowed}"
    # Python will not print an integer of thousands of digits.
    value = (
        "(a huge number)"
        if isinstance(details["input"], int) and details["input"].bit_length() > 999
        else details["input"]
    )
    return f"{name}={value!r:.200} is not allowed: it must be {allowed}"


class TextToImageRequest(BaseModel):
    """The parameters of one generation.

    Numbers may be given as strings, because Jinja templates render strings. What is not set (or set to ``None``)
    is left out of the payload, so that the service's own defaults apply.

    :param prompt: what to paint; required, not blank.
    :param negative_prompt: what to keep out of the picture.
    :param scheduler: ``"DDIM"`` or ``"P-Sampler"``.
    :param samples: how many pictures, 1 to 8. The service paints one if unset.
    :param num_inference_steps: 10 to 40.
    :param guidance_scale: how closely to follow the prompt; any finite number.
    :param seed: repeats a picture; ``-1`` asks the service for a random one.
    :param img_width: 512 or 1024 pixels.
    :param img_height: 512 or 1024 pixels.
    :param base64: return the picture in the body instead of a URL.
    :raises BadRequestError: at once, naming argument, value and what is allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[_Text, AfterValidator(_not_blank), Field(description="a string that is not blank")]
    negative_prompt: Annotated[_Text | None, Field(description="a string")] = None
    scheduler: Annotated[_Scheduler | None, Field(description="DDIM or P-Sampler")] = None
    samples: Annotated[_Samples | None, Field(description="an integer from 1 to 8")] = None
    num_inference_steps: Annotated[_Steps | None, Field(description="an integer from 10 to 40")] = None
    guidance_scale: Annotated[Number | None, Field(description="a finite number")] = None
    seed: Annotated[_Seed | None, Field(description="an integer from 0 to 2**64 - 1, or -1 for a random one")] = None
    img_width: Annotated[_Side | None, Field(description="512 or 1024")] = None
    img_height: Annotated[_Side | None, Field(description="512 or 1024")] = None
    base64: Annotated[bool | None, Field(description="true or false")] = None

    @model_validator(mode="wrap")
    @classmethod
    def _raise_bad_request(cls, values: Any, handler: Any) -> TextToImageRequest:
        try:
            request: TextToImageRequest = handler(values)
            return request
        except ValidationError as error:
            reason = refusals(cls, error)
        raise BadRequestError(f"{reason}. Nothing was submitted.")

    @classmethod
    def of(cls, wanted: Any, defaults: Mapping[str, Any]) -> TextToImageRequest:
        """Read what a user wants painted.

        :param wanted: a prompt, or a mapping of parameters.
        :param defaults: the parameters that it does not name.
        :raises BadRequestError: it is neither, or a parameter is refused.
        """
        if isinstance(wanted, str):
            wanted = {"prompt": wanted}
        if not isinstance(wanted, Mapping):
            allowed = "a prompt or a mapping of parameters"
            raise BadRequestError(f"{wanted!r:.200} is not allowed: it must be {allowed}. Nothing was submitted.")
        return cls.model_validate({**defaults, **wanted})

    def payload(self) -> dict[str, Any]:
        """The JSON body: what was set, under the service's own names."""
        return self.model_dump(exclude_none=True)


def parse_request_id(value: object) -> str | None:
    """Read a request id, which others have made and which becomes part of URLs and file names.

    :param value: as it came.
    :return: 1 to 200 printable ASCII characters without blanks, less the blanks around them; ``None`` if it is
        anything else.
    """
    text = value.strip() if isinstance(value, str) else ""
    return text if _REQUEST_ID.fullmatch(text) else None


class JobStatus(StrEnum):
    """Where a job stands.

    The vendor documents four states; any other word is :attr:`UNKNOWN` and counts as not finished, so that a new
    state of the service is waited out instead of losing a paid picture.
    """

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def parse(cls, value: object) -> JobStatus:
        """Read a state as the service wrote it, in any letter case."""
        word = value.strip().upper() if isinstance(value, str) else ""
        return cls(word) if word in cls.__members__ else cls.UNKNOWN

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that the service has accepted, and so will bill unless it fails.

    :param request_id: the service's name for the job; any non-empty string.
    :param status: where it stood when it was accepted.
    """

    request_id: str
    status: JobStatus = JobStatus.QUEUED


@dataclass(frozen=True, slots=True)
class Image:
    """One picture: a URL, or the decoded bytes where the service sent it in the body."""

    url: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What a finished job gave.

    :param request_id: the job; ``None`` from the blocking v1 call, which does not tell it.
    :param model: the model's slug, where known.
    :param images: in the service's order, without repeats; at least one.
    :param seed: the seed that was used, where told.
    :param cost: in US dollars; ``None`` is unknown, never free.
    :param inference_time: seconds of painting.
    :param queue_time: seconds before painting.
    :param total_time: seconds from submission to the end.
    :param metrics: the service's ``metrics`` as they came.
    :param polls: how often the job was looked at until this was known, where it was waited for.
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
        """The pictures' URLs, in the service's order."""
        return [image.url for image in self.images if image.url is not None]

    @property
    def has_image_data(self) -> bool:
        """Whether any picture came as bytes; those never travel through XCom or a trigger's event."""
        return any(image.data is not None for image in self.images)

    def with_seed(self, seed: int | None) -> GenerationResult:
        """This, with the seed that was sent, should the service not have told the one it used."""
        return replace(self, seed=seed) if self.seed is None else self

    def generation(self) -> dict[str, Any]:
        """What the ``generation`` XCom tells about the job: ids and numbers, no picture."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "seed": self.seed,
            "cost": self.cost,
            "inference_time": self.inference_time,
            "queue_time": self.queue_time,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's event; pictures that came as bytes are left out."""
        return self.generation() | {"urls": self.urls, "total_time": self.total_time, "polls": self.polls}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationResult:
        """The way back from :meth:`to_dict`; fields that this version does not know are left out."""
        return cls(
            request_id=values.get("request_id"),
            images=tuple(Image(url=url) for url in values["urls"]),
            model=values.get("model"),
            seed=values.get("seed"),
            cost=values.get("cost"),
            inference_time=values.get("inference_time"),
            queue_time=values.get("queue_time"),
            total_time=values.get("total_time"),
            polls=values.get("polls"),
        )


@dataclass(frozen=True, slots=True)
class Credits:
    """What is left on the account, in the vendor's credits.

    :param paid: bought credits; ``None`` where the service has no record ("No credits found for the user").
    :param free: credits that were given away.
    """

    paid: float | None
    free: float | None = None

    @property
    def total(self) -> float:
        """All that can still be spent."""
        return (self.paid or 0.0) + (self.free or 0.0)


def fingerprint(base_url: str, model: str, payload: Mapping[str, Any]) -> str:
    """Name a purchase: equal for equal base URL, model and payload, whatever the order of the keys."""
    canonical = json.dumps([base_url, model, payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
