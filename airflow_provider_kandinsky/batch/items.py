"""What a batch is asked for: each row given a seed, and named by its fingerprint. Does no I/O."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from airflow.sdk import Context

from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.durable.seeds import derive_seed
from airflow_provider_kandinsky.segmind.request import TextToImageRequest, fingerprint
from airflow_provider_kandinsky.segmind.request_list import read_rows

T = TypeVar("T")


def read_items(
    rows: Any,
    defaults: Mapping[str, Any],
    context: Context,
    base_url: str,
    model: str,
    *,
    reuse: bool = False,
) -> list[Item]:
    """Check all rows, and make items of them.

    A row without a seed gets one of its own. Equal rows that have a seed are one item; with the seed ``-1`` each is
    one.

    :param rows: mappings of parameters, or prompts.
    :param defaults: parameters for the rows that do not have them.
    :param context: the running task's, whose names the seeds are made from.
    :param model: the slug.
    :param reuse: whether a seed is made from what a row asks for, so that equal rows are one item.
    :return: in the order of the rows.
    :raises BadRequestError: it is no list, or rows are refused; with their places, their arguments, the values and
        what is allowed.
    """
    own_seeds: set[str] = set()
    positions: dict[str, list[int]] = {}
    requests: dict[str, TextToImageRequest] = {}
    equal_rows: Counter[str] = Counter()
    random_rows: Counter[str] = Counter()
    own_keys: dict[str, list[str | None]] = {}
    for position, (own_key, request) in enumerate(read_rows(rows, defaults, model)):
        has_own_seed = request.seed is None and not reuse
        if reuse:
            request = request.seeded_by_content(model)
        if has_own_seed:
            payload = json.dumps(request.payload(), sort_keys=True)
            request = request.model_copy(update={"seed": derive_seed(context, payload, equal_rows[payload])})
            equal_rows[payload] += 1
        key = fingerprint(base_url, model, request.payload())
        if request.seed == -1:
            random_rows[key] += 1
            key = f"{key}#{random_rows[key]}"
        if has_own_seed:
            own_seeds.add(key)
        requests[key] = request
        positions.setdefault(key, []).append(position)
        own_keys.setdefault(key, []).append(own_key)
    return [
        Item(key, requests[key], tuple(places), key in own_seeds, tuple(own_keys[key]))
        for key, places in positions.items()
    ]


def by_position(items: Sequence[Item], value: Callable[[Item], T]) -> list[T]:
    """What there is for each row, in their order; rows that are one item have the same."""
    values = {position: value(item) for item in items for position in item.positions}
    return [values[position] for position in sorted(values)]
