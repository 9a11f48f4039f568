"""What the arguments of the tasks have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from airflow_provider_kandinsky.results.reuse_policy import check_reuse
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest

#: The arguments that describe the image, by the API's own names.
GENERATION_ARGUMENTS: Final = tuple(TextToImageRequest.model_fields)

BASE64_NEEDS_OUTPUT_PATH: Final = (
    "base64=True needs an output_path: images are not put into XCom. Nothing was submitted."
)


def is_literal(value: object) -> bool:
    """Whether a value is final when the DAG is parsed: no template, no XCom of another task, no collection."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    return value is None or isinstance(value, (int, float, bool))


def literal_arguments(task: Any, names: Iterable[str]) -> dict[str, Any]:
    """The arguments of a task that are final when the DAG is parsed; of ``model_parameters`` those parameters that are.

    :param names: of the arguments.
    """
    found = {name: value for name in names if is_literal(value := getattr(task, name))}
    own = getattr(task, "model_parameters", None)
    if isinstance(own, Mapping):
        found["model_parameters"] = {name: value for name, value in own.items() if _has_no_template(value)}
    return found


def _has_no_template(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_has_no_template, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_has_no_template, value))
    return is_literal(value)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Check an argument that is one of a few words.

    :param choices: a ``Literal`` of them.
    :raises BadRequestError: it is none of them.
    """
    if value not in get_args(choices):
        raise invalid_argument(name, value, f"one of {', '.join(get_args(choices))}")


def check_output_path(output_path: str | None, samples: int = 1) -> None:
    """Check an ``output_path`` when the DAG is parsed, unless it is templated.

    :param samples: how many images a job will give.
    :raises BadRequestError: see :meth:`~airflow_provider_kandinsky.results.output_path.OutputPath.check_template`.
    """
    if output_path is not None and is_literal(output_path):
        from airflow_provider_kandinsky.results.output_path import (
            OutputPath,  # slow to import, and most tasks have none
        )

        OutputPath.check_template(output_path, samples)


def check_destination(output_path: str | None, samples: int, *, base64: bool, reuse: bool) -> None:
    """Check whether images can be stored where a rendered ``output_path`` says, and whether they need to be.

    :param samples: how many images a job will give.
    :raises BadRequestError: they cannot; or there is no path, and they need one.
    """
    check_reuse(reuse, output_path)
    if output_path:
        from airflow_provider_kandinsky.results.output_path import OutputPath

        OutputPath(output_path, samples)
    elif base64:
        raise BadRequestError(BASE64_NEEDS_OUTPUT_PATH)


def invalid_argument(name: str, value: Any, allowed: str) -> BadRequestError:
    """Build the error for a rejected argument.

    :param allowed: what the argument must be.
    """
    return BadRequestError(f"{name}={value!r:.200} is not allowed: it must be {allowed}. Nothing was submitted.")
