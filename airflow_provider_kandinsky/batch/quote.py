"""What of a batch is stored already, and what would be submitted. Submits nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_kandinsky.batch.items import read_rows, seeded_by_content
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.results.storage import OutputPath
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest, fingerprint


def split_stored(
    rows: Any, defaults: Mapping[str, Any], base_url: str, model: str, output_path: str | None
) -> tuple[int, int, list[TextToImageRequest]]:
    """Split rows by whether their images are stored.

    :param output_path: where they are, if they are to be reused.
    :return: how many rows there are, for how many the images are stored, and what the others would submit.
    :raises BadRequestError: rows are refused.
    :raises ReuseIndexError: the storage cannot be read.
    """
    requests = [request for _, request in read_rows(rows, defaults, model)]
    if output_path is not None:
        seeded = [seeded_by_content(request, model) for request in requests]
        keys = [fingerprint(base_url, model, request.payload()) for request in seeded]
        wanted = list(dict.fromkeys(key for key, each in zip(keys, seeded, strict=True) if each.seed != -1))
        stored = ReuseIndex(OutputPath(output_path, has_keys=True)).find(wanted) if wanted else {}
        missing = [each for key, each in zip(keys, seeded, strict=True) if key not in stored or each.seed == -1]
        return len(requests), len(requests) - len(missing), _distinct(missing)
    return len(requests), 0, _distinct(requests)


def check_reuse(*, reuse: bool, output_path: str | None) -> str | None:
    """Where images are reused from, if they are.

    :raises BadRequestError: they are to be, and there is no such place.
    """
    if reuse and not output_path:
        raise BadRequestError("reuse=True needs an output_path: the images are delivered again from there.")
    return output_path if reuse else None


def _distinct(requests: list[TextToImageRequest]) -> list[TextToImageRequest]:
    """Equal requests that have a seed are submitted once."""
    distinct: dict[object, TextToImageRequest] = {}
    for request in requests:
        is_repeatable = request.seed not in (None, -1)
        distinct[json.dumps(request.payload(), sort_keys=True) if is_repeatable else object()] = request
    return list(distinct.values())
