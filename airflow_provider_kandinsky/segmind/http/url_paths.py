"""Names from elsewhere as segments of a URL's path."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from airflow_provider_kandinsky.segmind.errors import BadRequestError
from airflow_provider_kandinsky.segmind.schemas import parse_request_id

#: The longest model name, in characters; httpx rejects URLs of more than 64 KB.
_MAX_NAME_LENGTH: Final = 200


def id_segment(request_id: str) -> str:
    """Quote a request id as a single URL path segment.

    :raises BadRequestError: it is not a request id; see :func:`~.schemas.parse_request_id`.
    """
    known = parse_request_id(request_id)
    if known is None:
        raise _invalid_name(request_id)
    return segment(known)


def segment(name: str) -> str:
    """Quote a name as a single URL path segment.

    :raises BadRequestError: the name is empty, too long or cannot be encoded.
    """
    try:
        quoted = quote(name, safe="") if len(name) <= _MAX_NAME_LENGTH else ""
    except UnicodeEncodeError:
        quoted = ""
    if not quoted:
        raise _invalid_name(name)
    # A name of only dots would lead out of the folder.
    return quoted if quoted.strip(".") else quoted.replace(".", "%252E")


def _invalid_name(name: str) -> BadRequestError:
    return BadRequestError(f"{name[:200]!r} cannot be a request id or a model")
