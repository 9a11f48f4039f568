"""What a batch is asked for: each row checked, given a seed, and named by its fingerprint. Does no I/O."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.durable.seeds import derive_seed, seed_from_content
from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest, fingerprint

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")

#: So many refused rows are in the error; the others are counted.
_MOST_REFUSALS: Final = 10
_MAX_KEY_LENGTH: Final = 1000


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
            request = seeded_by_content(request, model)
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


def seeded_by_content(request: TextToImageRequest, model: str) -> TextToImageRequest:
    """A request, with the seed that ``reuse`` gives it where it has none."""
    if request.seed is not None:
        return request
    return request.model_copy(update={"seed": seed_from_content(model, request.payload())})


def by_position(items: Sequence[Item], value: Callable[[Item], T]) -> list[T]:
    """What there is for each row, in their order; rows that are one item have the same."""
    values = {position: value(item) for item in items for position in item.positions}
    return [values[position] for position in sorted(values)]


def read_rows(rows: Any, defaults: Mapping[str, Any], model: str) -> list[tuple[str | None, TextToImageRequest]]:
    """The rows' own keys, and what they ask for."""
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Sequence):
        raise BadRequestError(
            f"requests={rows!r:.200} is not allowed: it must be a list of prompts, or of mappings of parameters. "
            "Nothing was submitted."
        )
    requests: list[tuple[str | None, TextToImageRequest]] = []
    refusals: list[str] = []
    places: dict[str, int] = {}
    for position, row in enumerate(rows):
        try:
            own_key, row = _split_key(row)
            if own_key is not None and (first := places.setdefault(own_key, position)) != position:
                refusals.append(f"requests[{position}]: key={own_key!r:.200} is not allowed: [{first}] has it, too.")
            requests.append((own_key, TextToImageRequest.of(row, defaults, model)))
        except BadRequestError as error:
            refusals.append(f"requests[{position}]: {error.message.removesuffix(' Nothing was submitted.')}")
    if refusals:
        more = f" And {len(refusals) - _MOST_REFUSALS} more." if len(refusals) > _MOST_REFUSALS else ""
        raise BadRequestError(f"{' '.join(refusals[:_MOST_REFUSALS])}{more} Nothing was submitted.")
    return requests


def _split_key(row: Any) -> tuple[str | None, Any]:
    """A row's own key, and the rest of it.

    :raises BadRequestError: the key is no text and no integer, blank, or a text that a database refuses.
    """
    if not isinstance(row, Mapping) or row.get("key") is None:
        return None, {name: row[name] for name in row if name != "key"} if isinstance(row, Mapping) else row
    own_key = row["key"]
    if isinstance(own_key, bool) or not isinstance(own_key, (str, int)) or not _is_key(str(own_key)):
        raise BadRequestError(f"key={own_key!r:.200} is not allowed: it must be a text or an integer, and not blank.")
    return str(own_key), {name: value for name, value in row.items() if name != "key"}


def _is_key(text: str) -> bool:
    """Whether it is not blank, not too long, and Airflow's database takes it as part of an XCom."""
    has_no_place = any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text)
    return 0 < len(text.strip()) <= _MAX_KEY_LENGTH and not has_no_place
