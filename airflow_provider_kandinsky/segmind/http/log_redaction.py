"""Filter what httpx and httpcore log about this package's own requests; other requests are left alone.

httpx logs every request at INFO: a waiting task would fill its log with polls. httpcore logs the headers of responses
at DEBUG, in which a service may echo the key. The levels of their loggers belong to the whole process, so the filter
goes by whose request it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from airflow_provider_kandinsky.segmind.redaction import redact

#: The filter of a logger does not see the records of its child loggers, so each is named.
_LOGGERS: Final = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))

#: The secret of the request in flight, empty if it has none; ``None`` outside of this package's requests.
_secret: ContextVar[str | None] = ContextVar("secret_of_own_request", default=None)


@contextmanager
def redact_request_logs(secret: str = "") -> Iterator[None]:
    """Mark the requests in this block as this package's own.

    :param secret: redacted from every log line about them.
    """
    token = _secret.set(secret)
    try:
        yield
    finally:
        _secret.reset(token)


def _redacting_filter(record: logging.LogRecord) -> bool:
    """Redact the secret, and pass lines below WARNING only if the logger is at DEBUG."""
    secret = _secret.get()
    if secret is None:
        return True
    if secret and (redacted := redact(message := record.getMessage(), secret)) != message:
        record.msg, record.args = redacted, None
    return record.levelno >= logging.WARNING or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_redacting_filter)
