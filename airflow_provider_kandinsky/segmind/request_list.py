"""A list of requests as a user gives it: prompts, or mappings of parameters, each perhaps with a key of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest

#: So many refused rows are in the error; the others are counted.
_MOST_REFUSALS: Final = 10
_MAX_KEY_LENGTH: Final = 1000


def read_rows(rows: Any, defaults: Mapping[str, Any], model: str) -> list[tuple[str | None, TextToImageRequest]]:
    """The rows' own keys, and what they ask for.

    :param defaults: parameters for the rows that do not have them.
    :param model: the slug.
    :raises BadRequestError: it is no list, or rows are refused; with their places, their arguments, the values and
        what is allowed.
    """
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
