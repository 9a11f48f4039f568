"""Make text from elsewhere safe to keep: without the API key, and without characters that no database takes."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote

#: Replaces the key. No request id may contain it: an id from which the key was redacted is incomplete.
MARK: Final = "***"

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def redact(text: str, secret: str) -> str:
    """Remove a secret from a text, also as URLs, JSON and ``repr`` write it.

    :param secret: empty for none.
    """
    for form in _forms(secret) if secret else ():
        text = text.replace(form, MARK)
    return text


@lru_cache(maxsize=16)
def _forms(secret: str) -> tuple[str, ...]:
    in_repr = secret.replace("\\", "\\\\")
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], in_repr, in_repr.replace("'", "\\'")}
    return tuple(sorted(forms, key=len, reverse=True))


def clean(text: str, secret: str) -> str:
    """As :func:`redact`, and with NUL and lone surrogates replaced by ``U+FFFD``."""
    # Replaced, not dropped: the text on both sides must not join to the key.
    return redact(text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text), secret)


def one_line(text: str, limit: int) -> str:
    """Make a text safe as part of a message: one line, no control characters.

    :param limit: the most characters that are shown.
    """
    words = " ".join(text[: 2 * limit].split())[:limit]
    return "".join(each if each.isprintable() else "\ufffd" for each in words)
