"""The models that are known, and the ranges of their parameters. No other place states a range.

A model that is not here is used as it is: the service alone knows its ranges, so only types are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a model.

    :param kind: ``str``, ``int``, ``float`` or ``bool``.
    :param choices: the values that are allowed; empty for all.
    :param minimum: the lowest number that is allowed; ``None`` if there is none, or it is not known.
    :param maximum: the highest number that is allowed; likewise.
    """

    kind: type
    choices: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type is in the range."""
        if self.choices:
            return value in self.choices
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    @property
    def allowed(self) -> str:
        """What is allowed, for an error; empty if any value of the type is."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        if self.minimum is None and self.maximum is None:
            return ""
        if self.maximum is None:
            return f"{TYPE_NAMES[self.kind]} of at least {self.minimum}"
        return f"{TYPE_NAMES[self.kind]} from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the service.

    :param slug: its name in URLs.
    :param family: what the slugs of its family begin with.
    :param parameters: those whose types or ranges are known, by name. The service may take others.
    """

    slug: str
    family: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


#: What the types are called in errors.
TYPE_NAMES: Final = {str: "a string", int: "an integer", float: "a finite number", bool: "true or false"}

_SHARED: Final = {
    "prompt": Parameter(str),
    "negative_prompt": Parameter(str),
    "scheduler": Parameter(str),
    "samples": Parameter(int),
    "guidance_scale": Parameter(float),
    "seed": Parameter(int),
    "base64": Parameter(bool),
}

_MODELS: Final = (
    Model(
        DEFAULT_MODEL,
        "kandinsky",
        _SHARED
        | {
            "scheduler": Parameter(str, choices=("DDIM", "P-Sampler")),
            "samples": Parameter(int, minimum=1, maximum=8),
            "num_inference_steps": Parameter(int, minimum=10, maximum=40),
            "img_width": Parameter(int, choices=(512, 1024)),
            "img_height": Parameter(int, choices=(512, 1024)),
        },
    ),
    # Its page names 768 and 1024 as sides "and others", and gives no range for prior_steps.
    Model(
        "kandinsky2.2-txt2img",
        "kandinsky",
        _SHARED
        | {
            "num_inference_steps": Parameter(int, minimum=20, maximum=100),
            "img_width": Parameter(int, minimum=1),
            "img_height": Parameter(int, minimum=1),
            "prior_steps": Parameter(int, minimum=1),
            "negative_prior_prompt": Parameter(str),
        },
    ),
)

#: The known models by slug.
CATALOGUE: Final[Mapping[str, Model]] = {model.slug: model for model in _MODELS}


def known_parameters(slug: object) -> Mapping[str, Parameter]:
    """The parameters of a model that are known.

    :param slug: the model's; any other value is an unknown model.
    :return: by name; empty for an unknown model.
    """
    model = CATALOGUE.get(slug) if isinstance(slug, str) else None
    return {} if model is None else model.parameters


def other_models_of_family(slug: str) -> list[str]:
    """The known models that may replace one, itself left out.

    :param slug: the model's, which need not be known: ``kandinsky3`` is of the family ``kandinsky``.
    """
    return [model.slug for model in _MODELS if model.slug != slug and slug.startswith(model.family)]
