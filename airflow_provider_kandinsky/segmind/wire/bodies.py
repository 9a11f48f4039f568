"""The bodies of answers, bounded: as many bytes as a call may need, as much JSON as a reader can use."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from airflow_provider_kandinsky.segmind.redaction import clean
from airflow_provider_kandinsky.segmind.schemas import INTEGERS

MEGABYTE: Final = 2**20

#: What a piece of a body counts at least, in bytes: millions of them, of a byte each, take minutes to read.
_LEAST_CHUNK: Final = 1024

#: Signs that part or open the values of JSON, texts included; a page of the history has some thousands.
_MAX_SIGNS: Final = 250_000
#: How deep objects and lists are read. Whatever is nested further is left out.
_MAX_DEPTH: Final = 32


class UnreadBodyError(Exception):
    """Why a body was not read, or not to its end."""


async def raw_chunks(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """A body as it was sent: httpx would unpack it first, and a few bytes can unpack to gigabytes.

    :param response: as a client gives it with ``stream=True``.
    :param limit: bytes.
    :raises UnreadBodyError: it is packed, though that was not asked for, or larger than the limit.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnreadBodyError(f"it came in the encoding {encoding[:40]!r}, which was not asked for")
    size = 0
    # Not aiter_raw(), which does not know the responses of a MockTransport.
    async for chunk in response.stream:  # type: ignore[union-attr]  # that of an AsyncClient is an AsyncByteStream
        size += max(len(chunk), _LEAST_CHUNK)
        if size > limit:
            raise UnreadBodyError(f"it is larger than {limit // MEGABYTE} MB, or came in too many pieces")
        yield chunk


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """A whole body; see :func:`raw_chunks`."""
    body = bytearray()
    async for chunk in raw_chunks(response, limit):
        body += chunk
    return bytes(body)


def parse_json(text: bytes | str, secret: str = "") -> Any:
    """Read JSON in which no text holds a secret, or what cannot be stored.

    :return: ``None`` if it is not JSON, or of more values than any answer has.
    """
    signs = (b",", b":", b"[", b"{") if isinstance(text, bytes) else (",", ":", "[", "{")
    if sum(map(text.count, signs)) > _MAX_SIGNS:  # type: ignore[arg-type]  # bytes count bytes, and str count str
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
