"""Of a list of requests: how many are stored, and what would be submitted for the others. Submits nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.results.reuse_policy import check_reuse
from airflow_provider_kandinsky.segmind.request import TextToImageRequest, fingerprint
from airflow_provider_kandinsky.segmind.request_list import read_rows


def split_stored(
    rows: Any, defaults: Mapping[str, Any], base_url: str, model: str, output_path: str | None, reuse: bool
) -> tuple[int, int, list[TextToImageRequest]]:
    """Split requests by whether their images are stored.

    :param rows: prompts, or mappings of the generation arguments.
    :param output_path: where stored images are.
    :param reuse: whether they are to be reused.
    :return: how many requests there are, for how many the images are stored, and what the others would submit.
    :raises BadRequestError: rows are refused, or ``reuse`` has no place.
    :raises ReuseIndexError: the storage cannot be read.
    """
    check_reuse(reuse, output_path)
    requests = [request for _, request in read_rows(rows, defaults, model)]
    if not reuse or not output_path:
        return len(requests), 0, _distinct(requests)
    seeded = [request.seeded_by_content(model) for request in requests]
    keys = [fingerprint(base_url, model, request.payload()) for request in seeded]
    wanted = list(dict.fromkeys(key for key, each in zip(keys, seeded, strict=True) if each.seed != -1))
    stored = ReuseIndex(OutputPath(output_path, has_keys=True)).find(wanted) if wanted else {}
    missing = [each for key, each in zip(keys, seeded, strict=True) if key not in stored or each.seed == -1]
    return len(requests), len(requests) - len(missing), _distinct(missing)


def _distinct(requests: list[TextToImageRequest]) -> list[TextToImageRequest]:
    """Equal requests that have a seed are submitted once."""
    distinct: dict[object, TextToImageRequest] = {}
    for request in requests:
        is_repeatable = request.seed not in (None, -1)
        distinct[json.dumps(request.payload(), sort_keys=True) if is_repeatable else object()] = request
    return list(distinct.values())
