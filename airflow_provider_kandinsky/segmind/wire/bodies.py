"""Read the bodies of responses within bounds: of bytes, of JSON values, of depth."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from airflow_provider_kandinsky.segmind.constants import INTEGERS, MEGABYTE
from airflow_provider_kandinsky.segmind.redaction import clean

#: A chunk of a body counts as at least this many bytes: millions of chunks of one byte take minutes to read.
_LEAST_CHUNK: Final = 1024

#: Characters that separate or open JSON values; a page of the history has some thousands.
_MAX_SEPARATORS: Final = 250_000
#: How deep objects and lists are read. What is nested deeper is dropped.
_MAX_DEPTH: Final = 32


class UnreadBodyError(Exception):
    """A body was not read to its end; the message says why."""


async def raw_chunks(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yield a body as sent. httpx would decompress it, and a few bytes can decompress to gigabytes.

    :param response: a streamed one.
    :param limit: in bytes.
    :raises UnreadBodyError: the body is compressed, which was not requested, or larger than the limit.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnreadBodyError(f"its encoding is {encoding[:40]!r}, which was not requested")
    size = 0
    # Not aiter_raw(), which does not support the responses of a MockTransport.
    async for chunk in response.stream:  # type: ignore[union-attr]  # that of an AsyncClient is an AsyncByteStream
        size += max(len(chunk), _LEAST_CHUNK)
        if size > limit:
            raise UnreadBodyError(f"it is larger than {limit // MEGABYTE} MB, or came in too many chunks")
        yield chunk


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """A whole body; see :func:`raw_chunks`."""
    return b"".join([chunk async for chunk in raw_chunks(response, limit)])


def parse_json(text: bytes | str, secret: str = "") -> Any:
    """Parse JSON, redact a secret from its texts and replace what cannot be stored.

    :return: ``None`` if it is not JSON, or has more values than any valid response.
    """
    separators = (b",", b":", b"[", b"{") if isinstance(text, bytes) else (",", ":", "[", "{")
    if sum(map(text.count, separators)) > _MAX_SEPARATORS:  # type: ignore[arg-type]  # bytes count bytes, and str count str
        return None
    try:
        return _cleaned(json.loads(text), secret, _MAX_DEPTH)
    except (ValueError, RecursionError):
        return None


def _cleaned(value: Any, secret: str, depth: int) -> Any:
    if isinstance(value, str):
        return clean(value, secret)
    if isinstance(value, int) and value not in INTEGERS:
        return None
    if not isinstance(value, (dict, list)):
        return value
    if depth == 0:
        return None
    if isinstance(value, list):
        return [_cleaned(each, secret, depth - 1) for each in value]
    return {clean(name, secret): _cleaned(each, secret, depth - 1) for name, each in value.items()}
