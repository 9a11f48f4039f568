"""Field types of the models that users fill in, and the message for a rejected field. Ranges are in :mod:`~.models`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, INTEGERS, MAX_IMAGES
from airflow_provider_kandinsky.segmind.models import TYPE_NAMES, Parameter, known_parameters

#: Free parameters: how many there may be, how deep lists and objects may nest, how long all may be as JSON.
MAX_PARAMETERS: Final = 64
MAX_DEPTH: Final = 8
MAX_LENGTH: Final = 20_000
#: Not with underscores in front, which Airflow's serializers read as their own.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")

#: The type of an error whose message is complete.
_COMPLETE: Final = "kandinsky_complete"


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


def _in_range(value: Any, info: ValidationInfo) -> Any:
    """Check a parameter against what is known of the model."""
    known = known_parameters(model_of(info)).get(info.field_name or "")
    if value is not None and known is not None and not known.allows(value):
        raise ValueError
    return value


def model_of(info: ValidationInfo) -> Any:
    """The slug that a request is checked for, which pydantic calls its context."""
    return DEFAULT_MODEL if info.context is None else info.context["model"]


InRange: Final = AfterValidator(_in_range)
Text = Annotated[str, AfterValidator(_storable)]
Prompt = Annotated[Text, AfterValidator(_not_blank)]
Integer = Annotated[int, BeforeValidator(_no_bool), Field(ge=INTEGERS.start, lt=INTEGERS.stop)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
#: Of any model: no more images than one result is read for.
Samples = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=MAX_IMAGES)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=-1, lt=INTEGERS.stop)]

#: The types of the parameters in the catalogue that are no arguments of their own.
_TYPES: Final[Mapping[type, TypeAdapter[Any]]] = {
    str: TypeAdapter(Text),
    int: TypeAdapter(Integer),
    float: TypeAdapter(Number),
    bool: TypeAdapter(bool),
}


def _check_model_parameters(value: Any, info: ValidationInfo) -> dict[str, Any] | None:
    """Check parameters that are sent as they are; those that are known of the model are checked as arguments are."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _refusal(f"model_parameters={value!r:.200} is not allowed: it must be a mapping of names to JSON values")
    known = known_parameters(model_of(info))
    arguments = dict(info.data) | {"model_parameters": "…", "model": model_of(info)}
    checked = {name: _check_parameter(name, each, known.get(name), arguments) for name, each in value.items()}
    # As an argument that is None.
    checked = {name: each for name, each in checked.items() if each is not None}
    if len(checked) > MAX_PARAMETERS or len(json.dumps(checked)) > MAX_LENGTH:
        raise _refusal(
            f"model_parameters is too large: {MAX_PARAMETERS} parameters, and {MAX_LENGTH} characters of JSON, are "
            "allowed at most"
        )
    return checked or None


def _check_parameter(name: str, value: Any, known: Parameter | None, arguments: Mapping[str, Any]) -> Any:
    argument = name.strip().lower().replace("-", "_")
    if argument in arguments:
        raise _refusal(
            f"model_parameters[{name!r}]={value!r:.200} is not allowed beside the argument "
            f"{argument}={arguments[argument]!r:.200}: set it there only"
        )
    if not _NAME.fullmatch(name):
        raise _refusal(f"model_parameters[{name!r:.100}] is not allowed: a name has letters, digits, and _ . - in it")
    if known is None or value is None:
        try:
            return _plain(value, MAX_DEPTH)
        except ValueError:
            allowed = f"a JSON value, nested at most {MAX_DEPTH} deep"
    else:
        allowed = known.allowed or TYPE_NAMES[known.kind]
        try:
            typed = _TYPES[known.kind].validate_python(value)
        except ValidationError:
            pass
        else:
            if known.allows(typed):
                return typed
    raise _refusal(f"model_parameters[{name!r}]={_shown(value)!r:.200} is not allowed: it must be {allowed}")


def _plain(value: Any, depth: int) -> Any:
    """A copy of a JSON value.

    :raises ValueError: it is none, or is nested too deeply.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _storable(str(value))
    if isinstance(value, int) and value in INTEGERS:
        return int(value)
    if isinstance(value, float) and abs(value) < float("inf"):
        return float(value)
    if depth > 0 and isinstance(value, (list, tuple)):
        return [_plain(each, depth - 1) for each in value]
    if depth > 0 and isinstance(value, Mapping):
        if not all(isinstance(name, str) and not name.startswith("__") for name in value):
            raise ValueError
        return {_storable(name): _plain(each, depth - 1) for name, each in value.items()}
    raise ValueError


def _refusal(message: str) -> PydanticCustomError:
    return PydanticCustomError(_COMPLETE, "{message}", {"message": message})


ModelParameters = Annotated[dict[str, Any] | None, BeforeValidator(_check_model_parameters)]


def format_validation_error(
    model: type[BaseModel], error: ValidationError, known: Mapping[str, Parameter] | None = None
) -> str:
    """Name each rejected field, its value and what is allowed, which is the field's description.

    :param known: the ranges of fields that have one.
    """
    return "; ".join(_format_field(model, details, known or {}) for details in error.errors(include_url=False))


def _format_field(model: type[BaseModel], details: ErrorDetails, known: Mapping[str, Parameter]) -> str:
    if details["type"] == _COMPLETE:
        return str(details["ctx"]["message"])
    name = str(details["loc"][0]) if details["loc"] else "request"
    if name not in model.model_fields:
        return f"{name} is not a parameter; there are {', '.join(model.model_fields)}"
    allowed = (name in known and known[name].allowed) or model.model_fields[name].description
    if details["type"] == "missing":
        return f"{name} is missing: it must be {allowed}"
    return f"{name}={_shown(details['input'])!r:.200} is not allowed: it must be {allowed}"


def _shown(value: Any) -> Any:
    """A value as a message shows it: Python does not print an integer of thousands of digits."""
    return "(a huge number)" if isinstance(value, int) and value.bit_length() > 999 else value
