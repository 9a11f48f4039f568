"""Facts about hosts and connections: what is loopback, where no proxy is used, why a connection failed."""

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
    """Scheme, host and port of a URL.

    :param port: the scheme's default if the URL has none.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return self.bracketed_host if self.port is None else f"{self.bracketed_host}:{self.port}"

    @property
    def bracketed_host(self) -> str:
        """The host as a URL writes it."""
        return f"[{self.host}]" if ":" in self.host else self.host


def origin(url: str) -> Origin:
    """The origin of a URL.

    :raises httpx.InvalidURL: it is not a URL.
    """
    parsed = httpx.URL(url)
    return Origin(parsed.scheme, parsed.host, parsed.port or _USUAL_PORTS.get(parsed.scheme))


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can only be this machine. The only such name is ``localhost``; a resolver may
    resolve ``x.localhost`` to any machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_proxy(urls: Iterable[str]) -> dict[str, None]:
    """Bypass the environment's proxies for loopback URLs.

    A proxy would receive what may be sent unencrypted only inside this machine, and its ``localhost`` is another host.

    :param urls: the URLs that will be requested; other than loopback ones follow the environment.
    :return: the ``mounts`` of an httpx client.
    """
    return {f"all://{each.bracketed_host}": None for each in map(origin, urls) if is_loopback(each.host)}


def describe_failure(error: BaseException) -> str:
    """Name the cause of a connection failure: the error's type and the reason from the operating system, DNS or TLS.

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
    # Both have error numbers of their own.
    has_own_text = isinstance(found, (socket.gaierror, ssl.SSLError))
    return f"{kind}: {found.strerror if has_own_text else os.strerror(found.errno)}"
