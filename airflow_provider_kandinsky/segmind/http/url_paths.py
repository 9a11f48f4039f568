"""Names of others as parts of a URL's path."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.schemas import parse_request_id

#: Characters of a model's name; httpx refuses URLs of more than 64 KB.
_LONGEST_NAME: Final = 200


def id_segment(request_id: str) -> str:
    """One segment of a path for a request id.

    :raises BadRequestError: it is none; see :func:`~.schemas.parse_request_id`.
    """
    known = parse_request_id(request_id)
    if known is None:
        raise _refused(request_id)
    return segment(known)


def segment(name: str) -> str:
    """One segment of a path, that stays one whatever is in the name.

    :raises BadRequestError: no path can hold it.
    """
    try:
        quoted = quote(name, safe="") if len(name) <= _LONGEST_NAME else ""
    except UnicodeEncodeError:
        quoted = ""
    if not quoted:
        raise _refused(name)
    # Dots alone would lead out of the folder.
    return quoted if quoted.strip(".") else quoted.replace(".", "%252E")


def _refused(name: str) -> BadRequestError:
    return BadRequestError(f"{name[:200]!r} cannot be a request id or a model")
