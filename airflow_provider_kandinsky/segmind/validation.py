"""Field types of the models that users fill in, and the message for a rejected field."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from airflow_provider_kandinsky.segmind.constants import INTEGERS

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


def _storable(value: str) -> str:
    """Reject half of a surrogate pair, which JSON cannot carry, and NUL, which no database takes."""
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


Text = Annotated[str, AfterValidator(_storable)]
Prompt = Annotated[Text, AfterValidator(_not_blank)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Scheduler = Annotated[str, _one_of(SCHEDULERS)]
Side = Annotated[int, BeforeValidator(_no_bool), _one_of(IMAGE_SIDES)]
Samples = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=8)]
Steps = Annotated[int, BeforeValidator(_no_bool), Field(ge=10, le=40)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=-1, lt=INTEGERS.stop)]


def format_validation_error(model: type[BaseModel], error: ValidationError) -> str:
    """Name each rejected field, its value and what is allowed, which is the field's description."""
    return "; ".join(_format_field(model, details) for details in error.errors(include_url=False))


def _format_field(model: type[BaseModel], details: ErrorDetails) -> str:
    name = str(details["loc"][0]) if details["loc"] else "request"
    if name not in model.model_fields:
        return f"{name} is not a parameter; there are {', '.join(model.model_fields)}"
    allowed, value = model.model_fields[name].description, details["input"]
    if details["type"] == "missing":
        return f"{name} is missing: it must be {allowed}"
    # Python does not print an integer of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 999:
        value = "(a huge number)"
    return f"{name}={value!r:.200} is not allowed: it must be {allowed}"
