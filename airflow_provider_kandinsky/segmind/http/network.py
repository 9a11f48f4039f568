"""What the network is asked to do: which host is this machine, where no proxy may be, why a connection failed."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Final, NamedTuple

import httpx

_USUAL_PORTS: Final = {"https": 443, "http": 80}


class Origin(NamedTuple):
    """Who answers at a URL.

    :param port: the scheme's usual one where the URL has none.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return self.bracketed_host if self.port is None else f"{self.bracketed_host}:{self.port}"

    @property
    def bracketed_host(self) -> str:
        """The host as a URL holds it."""
        return f"[{self.host}]" if ":" in self.host else self.host


def origin(url: str) -> Origin:
    """Read who answers at a URL.

    :raises httpx.InvalidURL: it is no URL.
    """
    parsed = httpx.URL(url)
    return Origin(parsed.scheme, parsed.host, parsed.port or _USUAL_PORTS.get(parsed.scheme))


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can only be this machine. Of names it is ``localhost`` alone: what is below it
    (``x.localhost``) is for the resolver to answer, which may name any machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_proxy(urls: Iterable[str]) -> dict[str, None]:
    """Keep the environment's proxies away from this machine's own services.

    A proxy would be handed what may go unencrypted to this machine alone, and its ``localhost`` is another.

    :param urls: those that will be asked; all but loopback ones are left to the environment.
    :return: the ``mounts`` of an httpx client.
    """
    return {f"all://{each.bracketed_host}": None for each in map(origin, urls) if is_loopback(each.host)}


def describe_failure(error: BaseException) -> str:
    """Say what went wrong with a connection: the kind, and what the operating system, the resolver or TLS calls the
    reason.

    httpx's own text is left out, because it puts header values into some; so is what asyncio adds.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    while isinstance(found, OSError) and found.errno is None:
        cause = found.__cause__
        # One for each address that was tried.
        found = cause.exceptions[-1] if isinstance(cause, BaseExceptionGroup) else cause
    kind = type(error).__name__
    if not isinstance(found, OSError) or found.errno is None:
        return kind
    # Both number their errors on their own.
    has_own_words = isinstance(found, (socket.gaierror, ssl.SSLError))
    return f"{kind}: {found.strerror if has_own_words else os.strerror(found.errno)}"
