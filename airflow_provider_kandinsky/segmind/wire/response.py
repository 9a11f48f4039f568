"""One HTTP response of the service, without its request, and the error text in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from airflow_provider_kandinsky.segmind.redaction import clean, one_line
from airflow_provider_kandinsky.segmind.wire.bodies import parse_json

#: Characters: of an error page that are searched, and of an error text that are kept.
_PAGE_BEGINNING: Final = 4096
_MAX_TEXT: Final = 500
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
_ERROR_KEYS: Final = ("error", "error_description", "detail", "message", "html-message", "msg")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response without its request.

    :param headers: names in lower case.
    :param content: the body as sent; empty if it was not read to its end.
    :param received_at: wall clock, seconds since the epoch; rate limit resets are computed from it.
    :param unread: why the body was not read; empty if it was.
    :param secret: the API key, which is redacted from everything that is read here.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    received_at: float
    unread: str = ""
    secret: str = field(default="", repr=False)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, or ``None`` where it is not JSON."""
        return self.parse(self.content)

    def parse(self, text: bytes | str) -> Any:
        """Parse JSON from the body, or from a text inside it; see :func:`~.bodies.parse_json`."""
        return parse_json(text, self.secret)

    def beginning(self) -> str:
        """The first 4096 characters of the body as text; the rest of an error page is ignored."""
        # Twice as much is searched for the secret, so that no part of it is left at the end.
        text = self.content[: 2 * _PAGE_BEGINNING].decode(errors="replace")
        # Broken JSON is read as text, in which the secret may be escaped.
        text = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), html.unescape(text))
        return clean(text, self.secret)[:_PAGE_BEGINNING]


def error_text(response: Response) -> str:
    """The service's error message, one line of at most 500 characters: from JSON, or the title of an HTML page."""
    if response.unread:
        return f"a body that was not read, because {response.unread}"
    body = response.json()
    if body is not None:
        return one_line("; ".join(islice(_texts(body), 100)), _MAX_TEXT) or "no reason given"
    text = response.beginning().strip()
    if title := _title(text):
        return f"an HTML page, {title!r}"
    return "an HTML page" if text.startswith("<") else one_line(text, _MAX_TEXT) or "an empty body"


def _texts(value: Any, depth: int = 8) -> Iterator[str]:
    """The texts of an error in any shape: a string, an object, a list of objects. Each part is read once."""
    if isinstance(value, (dict, list)):
        if depth == 0:
            return
        if isinstance(value, list):
            for item in value:
                yield from _texts(item, depth - 1)
            return
        for key in _ERROR_KEYS:
            texts = _texts(value.get(key) or None, depth - 1)
            if first := next(texts, ""):
                yield first
                yield from texts
                return
    elif value is not None and (text := str(value).strip()):
        yield text[:_MAX_TEXT]


def _title(page: str) -> str:
    """The title or the first heading of an HTML page, in time linear in its length."""
    for tag in ("title", "h1"):
        opened = re.search(rf"<{tag}\b[^<>]*>", page, re.IGNORECASE)
        if opened and (closed := re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(page, opened.end())):
            return one_line(page[opened.end() : closed.start()], 200)
    return ""
