"""An Airflow connection of type ``kandinsky``, read into settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import httpx
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_kandinsky.compat.airflow import AirflowNotFoundException
from airflow_provider_kandinsky.segmind.constants import (
    DEFAULT_BASE_URL,
    IMAGE_HOST,
    REQUEST_TIMEOUT,
    SUBMIT_RETRY_TIMEOUT,
)
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.http.network import Origin, is_loopback, origin
from airflow_provider_kandinsky.segmind.validation import Number, format_validation_error

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

API_KEY_VARIABLE = "SEGMIND_API_KEY"
#: For the connection form, whose empty field is no answer: it is not sent, or as null.
HISTORY_OFF = "off"
# Left out of the base URL, by which a purchase is recognised: to fill in the port later must not make it another one.
_USUAL_PORTS = {"https": 443, "http": 80}


def _split(value: Any) -> Any:
    """The connection form gives one line of text, JSON gives a list."""
    hosts = value.split(",") if isinstance(value, str) else value
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return value
    return [host.strip().lower() for host in hosts if host.strip()]


def _checked_hosts(hosts: list[str]) -> list[str]:
    for host in hosts:
        place = _origin(f"https://{host}")
        if place is None or "*" in host or host not in (place.bracketed_host, str(place)):
            raise ValueError(host)
    return hosts


def _history_url(text: str | None) -> str | None:
    return "" if text is not None and text.strip().lower() in ("", HISTORY_OFF) else text


class ConnectionSettings(BaseModel):
    """What a connection says, checked.

    :param base_url: where the requests go.
    :param api_key: the account's key.
    :param requests_per_minute: the plan's limit; ``None`` leaves it to the service's own 429s.
    :param request_timeout: seconds for one whole request.
    :param retry_timeout: for how many seconds, 0 to 20, a worker retries a submission, a call to the history or a
        download before it raises the error.
    :param history_url: the whole URL of the request history. ``None`` is the vendor's for the vendor's own base URL,
        and none for any other; an empty one is none.
    :param allow_insecure: permit http to hosts other than this one's loopback.
    :param image_hosts: hosts besides ``images.segmind.com`` and the base URL's that images may come from, each with
        its port where that is not 443.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_url: str
    api_key: Annotated[str, Field(repr=False)]
    requests_per_minute: Annotated[Number | None, Field(gt=0, description="a number above 0")] = None
    request_timeout: Annotated[Number, Field(gt=0, description="a number of seconds above 0")] = REQUEST_TIMEOUT
    retry_timeout: Annotated[
        Number, Field(ge=0, le=SUBMIT_RETRY_TIMEOUT, description="a number of seconds from 0 to 20")
    ] = SUBMIT_RETRY_TIMEOUT
    history_url: Annotated[
        str | None, AfterValidator(_history_url), Field(description=f"a URL, or {HISTORY_OFF!r}")
    ] = None
    allow_insecure: Annotated[bool, Field(description="true or false")] = False
    image_hosts: Annotated[
        list[str],
        BeforeValidator(_split),
        AfterValidator(_checked_hosts),
        Field(description="host names, perhaps with a port, comma-separated"),
    ] = []

    @classmethod
    def read(
        cls,
        connection: Connection,
        extra: Mapping[str, Any],
        environment: Mapping[str, str] = os.environ,
        *,
        api_key: str | None = None,
    ) -> ConnectionSettings:
        """Read a connection.

        :param connection: its password is the API key, its host the base URL.
        :param extra: the connection's extra, as a mapping.
        :param environment: where ``SEGMIND_API_KEY`` is looked up if the connection has no password. It is for the
            vendor's own host only.
        :param api_key: used instead of both.
        :raises AuthenticationError: there is no key in either place, or only one that is not for the connection's host.
        :raises ConfigurationError: a field cannot be used, with its name, its value and what is allowed.
        """
        base_url = _base_url(connection)
        api_key = api_key or (connection.password or "").strip() or _key_of(environment, base_url, connection.conn_id)
        # An optional field that was left empty comes as null, or as empty text from forms of older Airflows.
        given = {
            name: extra[name]
            for name in cls.model_fields
            if extra.get(name) is not None and (extra[name] != "" or name == "history_url")
        }
        try:
            return cls(**given | {"api_key": api_key, "base_url": base_url})
        except ValidationError as error:
            reason = format_validation_error(cls, error)
        raise ConfigurationError(f"Connection {connection.conn_id!r}: {reason}")

    @property
    def all_image_hosts(self) -> set[str]:
        """The hosts that pictures may come from: at port 443, or at the one that stands with them. A base URL at this
        machine may serve them at its own port, too."""
        base = _origin(self.base_url)
        if base is None:
            return {IMAGE_HOST, *self.image_hosts}
        return {IMAGE_HOST, str(base) if is_loopback(base.host) else base.bracketed_host, *self.image_hosts}

    @property
    def download_policy(self) -> DownloadPolicy:
        """Which images may be downloaded, and for how long."""
        return DownloadPolicy(frozenset(self.all_image_hosts), retry_timeout=self.retry_timeout)


def _origin(url: str) -> Origin | None:
    """Who answers at a URL; ``None`` if it is no URL, which is for the client to say."""
    try:
        return origin(url)
    except httpx.InvalidURL:
        return None


def _key_of(environment: Mapping[str, str], base_url: str, conn_id: str) -> str:
    """The API key of the environment.

    It is the account's at the vendor, and whoever may edit a connection could have it sent anywhere.
    """
    api_key = environment.get(API_KEY_VARIABLE, "").strip()
    if not api_key:
        raise AuthenticationError(
            f"There is no API key: connection {conn_id!r} has no password, "
            f"and {API_KEY_VARIABLE} is not set in the environment"
        )
    place, vendor = _origin(base_url), origin(DEFAULT_BASE_URL)
    if place not in (None, vendor):
        raise AuthenticationError(
            f"There is no API key for {place}: connection {conn_id!r} has no password, and {API_KEY_VARIABLE} is sent "
            f"to {vendor.host} only. Put the key for {place} into the connection's password"
        )
    return api_key


def _base_url(connection: Connection) -> str:
    """Host, port and scheme of a connection, which as a URI keeps them apart and in the form is one text."""
    host = (connection.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    scheme, separator, rest = host.rpartition("://")
    if not separator:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
    place, slash, path = rest.partition("/")
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"  # an IPv6 address
    if connection.port not in (None, 0, _USUAL_PORTS.get(scheme)) and ":" not in place.rpartition("]")[2]:
        place = f"{place}:{connection.port}"
    return f"{scheme}://{place}{slash}{path}"


@contextmanager
def connection_errors(conn_id: str) -> Iterator[None]:
    """Tell a connection that is not there, which no retry can cure, from the rest of what may happen to a lookup.

    :raises ConfigurationError: it is not there.
    """
    try:
        yield
    except AirflowNotFoundException as error:
        raise ConfigurationError(f"There is no connection {conn_id!r}; create it, or name another one") from error


@cache
def warn_of_no_history(conn_id: str) -> None:
    """Say once per process, before anything is submitted, what a lost answer will mean."""
    log.warning(
        "Connection %r has no request history: if the answer to a submission is lost, it stays unknown whether it was "
        "accepted and billed, and the task fails rather than pay twice. Set history_url in the connection's extra",
        conn_id,
    )
