"""What httpx and httpcore log of this package's own requests, put right; what they log of others' is left alone.

httpx has a line at INFO for every request: a task that waits would fill its log with polls that found nothing new.
httpcore writes the headers of answers at DEBUG, in which a service may echo the key. The levels of their loggers
belong to everybody in the process, so what counts is whose request it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from airflow_provider_kandinsky.segmind.redaction import redact

#: A filter of a logger does not see the records of the loggers below it, so each is named.
_LOGGERS: Final = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))

#: The secret of the request under way, empty if it has none; ``None`` while no request of this package is.
_secret: ContextVar[str | None] = ContextVar("secret_of_own_request", default=None)


@contextmanager
def redact_request_logs(secret: str = "") -> Iterator[None]:
    """Whatever is requested in here is a request of this package.

    :param secret: what is to appear in no line about it.
    """
    token = _secret.set(secret)
    try:
        yield
    finally:
        _secret.reset(token)


def _redacting_filter(record: logging.LogRecord) -> bool:
    """As a filter: hide the secret, and let lines below WARNING pass only where DEBUG is wanted."""
    secret = _secret.get()
    if secret is None:
        return True
    if secret and (redacted := redact(message := record.getMessage(), secret)) != message:
        record.msg, record.args = redacted, None
    return record.levelno >= logging.WARNING or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_redacting_filter)
