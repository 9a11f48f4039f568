"""What a caller asks for: the parameters of one generation, checked.

A value outside of the ranges that are known of a model, see :mod:`~.segmind.models`, is rejected here, before a request
is made: an accepted request costs money even if its parameters make no sense.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, MAX_IMAGES
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.models import known_parameters
from airflow_provider_kandinsky.segmind.validation import (
    InRange,
    Integer,
    ModelParameters,
    Number,
    Prompt,
    Samples,
    Seed,
    Text,
    format_validation_error,
    model_of,
)


class TextToImageRequest(BaseModel):
    """The parameters of one generation.

    Numbers may be given as strings, because Jinja templates render strings. A parameter that is not set, or is
    ``None``, is left out of the payload, so that the service's own default applies. The ranges are those of
    ``kandinsky2.1-txt2im``; :meth:`of` makes requests to other models.

    :param prompt: what the image shows; required, not blank.
    :param negative_prompt: what the image must not show.
    :param scheduler: ``"DDIM"`` or ``"P-Sampler"``.
    :param samples: how many images, 1 to 8. The service's default is one.
    :param num_inference_steps: 10 to 40.
    :param guidance_scale: how closely to follow the prompt; any finite number.
    :param seed: the same seed repeats an image; ``-1`` lets the service choose one.
    :param img_width: 512 or 1024 pixels.
    :param img_height: 512 or 1024 pixels.
    :param base64: return the image in the response body instead of a URL.
    :param model_parameters: parameters that only this model has, by name, sent as they are: JSON values, of 20,000
        characters at most. None of them may be one of the above.
    :raises BadRequestError: a parameter is rejected; the message names it, its value and what is allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[Prompt, Field(description="a string that is not blank")]
    negative_prompt: Annotated[Text | None, InRange, Field(description="a string")] = None
    scheduler: Annotated[Text | None, InRange, Field(description="a string")] = None
    samples: Annotated[Samples | None, InRange, Field(description=f"an integer from 1 to {MAX_IMAGES}")] = None
    num_inference_steps: Annotated[Integer | None, InRange, Field(description="an integer")] = None
    guidance_scale: Annotated[Number | None, InRange, Field(description="a finite number")] = None
    seed: Annotated[
        Seed | None, InRange, Field(description="an integer from 0 to 2**64 - 1, or -1 for a random one")
    ] = None
    img_width: Annotated[Integer | None, InRange, Field(description="an integer")] = None
    img_height: Annotated[Integer | None, InRange, Field(description="an integer")] = None
    base64: Annotated[bool | None, InRange, Field(description="true or false")] = None
    # The last one: it is compared with all others.
    model_parameters: Annotated[ModelParameters, Field(description="a mapping of names to JSON values")] = None

    @model_validator(mode="wrap")
    @classmethod
    def _raise_bad_request(cls, values: Any, handler: Any, info: ValidationInfo) -> TextToImageRequest:
        try:
            request: TextToImageRequest = handler(values)
            return request
        except ValidationError as error:
            reason = format_validation_error(cls, error, known_parameters(model_of(info)))
        raise BadRequestError(f"{reason}. Nothing was submitted.")

    @classmethod
    def of(
        cls, wanted: Any, defaults: Mapping[str, Any] | None = None, model: str = DEFAULT_MODEL
    ) -> TextToImageRequest:
        """Build a request from what a user has given.

        :param wanted: a prompt, or a mapping of parameters.
        :param defaults: the parameters that ``wanted`` does not name. Those in ``model_parameters`` are taken one by
            one, too.
        :param model: the slug of the model that it is for. Of a model that is not known only the types are checked.
        :raises BadRequestError: ``wanted`` is neither, or a parameter is rejected.
        """
        if isinstance(wanted, str):
            wanted = {"prompt": wanted}
        if not isinstance(wanted, Mapping):
            allowed = "a prompt or a mapping of parameters"
            raise BadRequestError(f"{wanted!r:.200} is not allowed: it must be {allowed}. Nothing was submitted.")
        values = {**(defaults or {}), **wanted}
        pair = [each.get("model_parameters") for each in (defaults or {}, wanted)]
        if all(isinstance(each, Mapping) for each in pair):
            values["model_parameters"] = {**pair[0], **pair[1]}  # type: ignore[dict-item]  # both are mappings
        return cls.model_validate(values, context={"model": model})

    @classmethod
    def arguments_in(cls, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that gave a payload: the inverse of :meth:`payload`."""
        own = {name: value for name, value in payload.items() if name not in cls.model_fields}
        named = {name: value for name, value in payload.items() if name in cls.model_fields}
        return named | ({"model_parameters": own} if own else {})

    def image_count(self, model: str) -> int | None:
        """How many images the job makes; ``None`` if that is not certain: other models, and parameters that are not
        known, may make more.

        :param model: the slug.
        """
        known = known_parameters(model)
        if not known or not known.keys() >= (self.model_parameters or {}).keys():
            return None
        return self.samples or 1

    def url_count(self, model: str) -> int | None:
        """As :meth:`image_count`, if all of them come as URLs; else ``None``."""
        return None if self.base64 else self.image_count(model)

    def payload(self) -> dict[str, Any]:
        """The JSON body: the parameters that are set, under the service's own names."""
        named = self.model_dump(exclude_none=True, exclude={"model_parameters"})
        return named | (self.model_parameters or {})

    def seeded_by_content(self, model: str) -> TextToImageRequest:
        """A copy with the seed that ``reuse`` gives to what has none: made from what is asked for, so it is the same in
        every run, DAG and deployment.

        :param model: the slug.
        """
        if self.seed is not None:
            return self
        seed = int.from_bytes(_hash(model, self.payload())[:4], "big") >> 1
        return self.model_copy(update={"seed": seed})


def fingerprint(base_url: str, model: str, payload: Mapping[str, Any]) -> str:
    """Identify a submission: equal for equal base URL, model and payload, whatever the order of the keys."""
    return _hash(base_url, model, payload).hex()


def _hash(*values: Any) -> bytes:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()
