"""An Airflow connection of type ``kandinsky``, read into settings.

The readers are functions, not methods of the hook: a client that held its hook would keep it from being collected.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import httpx
from airflow.sdk.log import mask_secret
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_kandinsky.compat.airflow import AirflowNotFoundException, BaseHook, aget_connection, amask_secret
from airflow_provider_kandinsky.segmind.constants import (
    DEFAULT_BASE_URL,
    IMAGE_HOST,
    REQUEST_TIMEOUT,
    SUBMIT_RETRY_TIMEOUT,
)
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError
from airflow_provider_kandinsky.segmind.http.downloads import DownloadPolicy
from airflow_provider_kandinsky.segmind.http.network import Origin, is_loopback, origin
from airflow_provider_kandinsky.segmind.http.retry import RetryPolicy
from airflow_provider_kandinsky.segmind.validation import Number, format_validation_error

if TYPE_CHECKING:
    from airflow.sdk import Connection

API_KEY_VARIABLE = "SEGMIND_API_KEY"
#: Turns the history off in the connection form, which cannot send an empty text.
HISTORY_OFF = "off"
# Left out of the base URL, which is part of a submission's fingerprint: adding the port later must not change that.
_DEFAULT_PORTS = {"https": 443, "http": 80}


def _split_hosts(value: Any) -> Any:
    """The connection form gives one line of text, JSON gives a list."""
    hosts = value.split(",") if isinstance(value, str) else value
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return value
    return [host.strip().lower() for host in hosts if host.strip()]


def _check_hosts(hosts: list[str]) -> list[str]:
    for host in hosts:
        origin_of_host = _origin(f"https://{host}")
        if origin_of_host is None or "*" in host or host not in (origin_of_host.bracketed_host, str(origin_of_host)):
            raise ValueError(host)
    return hosts


def _history_url(text: str | None) -> str | None:
    return "" if text is not None and text.strip().lower() in ("", HISTORY_OFF) else text


class ConnectionSettings(BaseModel):
    """The validated settings of a connection.

    :param base_url: of the service.
    :param api_key: the account's key.
    :param requests_per_minute: the plan's limit; ``None`` to slow down only after a 429.
    :param request_timeout: seconds for one whole request.
    :param retry_timeout: for how many seconds, 0 to 20, a worker retries a submission, a call to the history or a
        download before it raises the error.
    :param history_url: the whole URL of the request history. ``None``: the vendor's, if the base URL is the vendor's;
        else there is none. Empty: there is none.
    :param allow_insecure: allow http to hosts other than loopback.
    :param image_hosts: hosts that images may come from, besides ``images.segmind.com`` and the base URL's; each with
        its port unless that is 443.
    :param daily_budget: dollars that the account may spend in a UTC day, as far as tasks submit; ``None``: no limit.
    :param ledger_path: an object storage URI, where tasks keep their ledgers.
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
        BeforeValidator(_split_hosts),
        AfterValidator(_check_hosts),
        Field(description="host names, perhaps with a port, comma-separated"),
    ] = []
    daily_budget: Annotated[Number | None, Field(gt=0, description="a number of dollars above 0")] = None
    ledger_path: Annotated[str | None, Field(pattern="://.", description="a URI, such as s3://conn_id@bucket/x")] = None

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
        :param environment: where ``SEGMIND_API_KEY`` is looked up if the connection has no password. That key is used
            for the vendor's own host only.
        :param api_key: used instead of both.
        :raises AuthenticationError: neither has a key, or the only key is not for the connection's host.
        :raises ConfigurationError: a field is invalid; the message has its name, its value and what is allowed.
        """
        base_url = _base_url(connection)
        api_key = api_key or (connection.password or "").strip()
        api_key = api_key or _environment_key(environment, base_url, connection.conn_id)
        # A field left empty comes as null, or as empty text from the forms of older Airflows.
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
        """The hosts that images may come from, with a port unless it is 443; a base URL on loopback keeps its own."""
        base = _origin(self.base_url)
        if base is None:
            return {IMAGE_HOST, *self.image_hosts}
        return {IMAGE_HOST, str(base) if is_loopback(base.host) else base.bracketed_host, *self.image_hosts}

    @property
    def retry_policy(self) -> RetryPolicy:
        """For how long a worker repeats a call."""
        return RetryPolicy(self.retry_timeout)

    @property
    def download_policy(self) -> DownloadPolicy:
        """Which images may be downloaded, and for how long."""
        return DownloadPolicy(frozenset(self.all_image_hosts), retry_timeout=self.retry_timeout)


def _origin(url: str) -> Origin | None:
    """The origin of a URL; ``None`` if it is invalid, which the client will report."""
    try:
        return origin(url)
    except httpx.InvalidURL:
        return None


def _environment_key(environment: Mapping[str, str], base_url: str, conn_id: str) -> str:
    """The key of the environment, for the vendor's host only: else who edits a connection could send it elsewhere."""
    api_key = environment.get(API_KEY_VARIABLE, "").strip()
    if not api_key:
        raise AuthenticationError(
            f"There is no API key: connection {conn_id!r} has no password, "
            f"and {API_KEY_VARIABLE} is not set in the environment"
        )
    host, vendor = _origin(base_url), origin(DEFAULT_BASE_URL)
    if host not in (None, vendor):
        raise AuthenticationError(
            f"There is no API key for {host}: connection {conn_id!r} has no password, and {API_KEY_VARIABLE} is sent "
            f"to {vendor.host} only. Put the key for {host} into the connection's password"
        )
    return api_key


def _base_url(connection: Connection) -> str:
    """The base URL from host, port and schema: a connection URI has them apart, the connection form in one text."""
    host = (connection.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    scheme, separator, rest = host.rpartition("://")
    if not separator:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
    netloc, slash, path = rest.partition("/")
    if netloc.count(":") > 1 and not netloc.startswith("["):
        netloc = f"[{netloc}]"  # an IPv6 address
    if connection.port not in (None, 0, _DEFAULT_PORTS.get(scheme)) and ":" not in netloc.rpartition("]")[2]:
        netloc = f"{netloc}:{connection.port}"
    return f"{scheme}://{netloc}{slash}{path}"


@contextmanager
def _lookup_errors(conn_id: str) -> Iterator[None]:
    """Translate the one lookup error that no retry can cure.

    :raises ConfigurationError: the connection does not exist.
    """
    try:
        yield
    except AirflowNotFoundException as error:
        raise ConfigurationError(f"There is no connection {conn_id!r}; create it, or name another one") from error


def read_settings(conn_id: str) -> ConnectionSettings:
    """Read a connection, and have Airflow mask its key in all logs.

    :raises ConfigurationError: the connection does not exist, or a field is invalid.
    :raises AuthenticationError: there is no API key; see :meth:`ConnectionSettings.read`.
    """
    with _lookup_errors(conn_id):
        connection = BaseHook.get_connection(conn_id)
    settings = ConnectionSettings.read(connection, connection.extra_dejson)
    mask_secret(settings.api_key)
    return settings


async def aread_settings(conn_id: str) -> ConnectionSettings:
    """The async twin of :func:`read_settings`."""
    with _lookup_errors(conn_id):
        connection, extra = await aget_connection(conn_id)
    settings = ConnectionSettings.read(connection, extra)
    await amask_secret(settings.api_key)
    return settings


async def reread_key(conn_id: str, before: ConnectionSettings) -> str:
    """Read the key again, for the blocking client, whose event loop is not Airflow's.

    :param before: the settings that the client was made from.
    :raises ConfigurationError: the connection now points to another host.
    """
    return _key_for_same_host(await asyncio.to_thread(read_settings, conn_id), before)


async def areread_key(conn_id: str, before: ConnectionSettings) -> str:
    """As :func:`reread_key`, in Airflow's own event loop."""
    return _key_for_same_host(await aread_settings(conn_id), before)


def _key_for_same_host(settings: ConnectionSettings, before: ConnectionSettings) -> str:
    if (settings.base_url, settings.history_url) != (before.base_url, before.history_url):
        raise ConfigurationError("The connection now points to another host, and its API key is for that host")
    return settings.api_key
