"""Read the vendor's list of models, whose form is not documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from airflow_provider_kandinsky.segmind.wire.error_mapping import Purpose, error_from_status, unexpected_body
from airflow_provider_kandinsky.segmind.wire.response import Response

#: Where an object may have its slug, best first; a name for people has blanks, and is none.
_SLUG_KEYS: Final = ("slug", "model_slug", "modelSlug", "model_name", "modelName", "name", "model")
_SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_MAX_MODELS: Final = 2000
_MAX_DEPTH: Final = 4


def read_models(response: Response) -> list[str]:
    """Read the slugs of the models, in the service's order, each once.

    :raises InvalidResponseError: there is no list with a slug in the body.
    :raises KandinskyError: any status but 2xx; see :func:`~.error_mapping.error_from_status`.
    """
    if not response.is_success:
        raise error_from_status(response, Purpose.ACCOUNT)
    slugs = list(dict.fromkeys(_slugs(response.json(), _MAX_DEPTH)))
    if not slugs:
        raise unexpected_body("Unexpected response from the list of models", response)
    return slugs[:_MAX_MODELS]


def _slugs(body: Any, depth: int) -> Iterator[str]:
    """The slugs in the lists of a body, at any depth."""
    if isinstance(body, dict) and depth:
        for value in body.values():
            if isinstance(value, (dict, list)):
                yield from _slugs(value, depth - 1)
    elif isinstance(body, list):
        for each in body:
            names = [each.get(key) for key in _SLUG_KEYS] if isinstance(each, dict) else [each]
            slug = next((name for name in names if isinstance(name, str) and _SLUG.fullmatch(name)), None)
            if slug is not None:
                yield slug
