"""An Airflow connection of type ``kandinsky``, read into settings."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_kandinsky.segmind.calls import DEFAULT_BASE_URL
from airflow_provider_kandinsky.segmind.downloads import IMAGE_HOST
from airflow_provider_kandinsky.segmind.errors import AuthenticationError, ConfigurationError
from airflow_provider_kandinsky.segmind.schemas import Number, refusals
from airflow_provider_kandinsky.segmind.shell import REQUEST_TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import Connection

API_KEY_VARIABLE = "SEGMIND_API_KEY"
# Left out of the base URL, by which a purchase is recognised: to fill in the port later must not make it another one.
_USUAL_PORTS = {"https": 443, "http": 80}


def _split(value: Any) -> Any:
    """The connection form gives one line of text, JSON gives a list."""
    hosts = value.split(",") if isinstance(value, str) else value
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        return value
    return [host.strip().lower() for host in hosts if host.strip()]


class ConnectionSettings(BaseModel):
    """What a connection says, checked.

    :param base_url: where the requests go.
    :param api_key: the account's key.
    :param requests_per_minute: the plan's limit; ``None`` leaves it to the service's own 429s.
    :param request_timeout: seconds for one whole request.
    :param history_url: the whole URL of the request history; ``None`` if there is none to ask.
    :param allow_insecure: permit http to hosts other than this one's loopback.
    :param image_hosts: hosts besides ``images.segmind.com`` and the base URL's that pictures may come from.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_url: str
    api_key: Annotated[str, Field(repr=False)]
    requests_per_minute: Annotated[Number | None, Field(gt=0, description="a number above 0")] = None
    request_timeout: Annotated[Number, Field(gt=0, description="a number of seconds above 0")] = REQUEST_TIMEOUT
    history_url: Annotated[str | None, Field(description="a URL")] = None
    allow_insecure: Annotated[bool, Field(description="true or false")] = False
    image_hosts: Annotated[list[str], BeforeValidator(_split), Field(description="host names, comma-separated")] = []

    @classmethod
    def read(
        cls, connection: Connection, extra: Mapping[str, Any], environment: Mapping[str, str] = os.environ
    ) -> ConnectionSettings:
        """Read a connection.

        :param connection: its password is the API key, its host the base URL.
        :param extra: the connection's extra, as a mapping.
        :param environment: where ``SEGMIND_API_KEY`` is looked up if the connection has no password.
        :raises AuthenticationError: there is no key in either place.
        :raises ConfigurationError: a field cannot be used, with its name, its value and what is allowed.
        """
        api_key = (connection.password or "").strip() or environment.get(API_KEY_VARIABLE, "").strip()
        if not api_key:
            raise AuthenticationError(
                f"There is no API key: connection {connection.conn_id!r} has no password, "
                f"and {API_KEY_VARIABLE} is not set in the environment"
            )
        # The form sends empty text for what was left empty.
        given = {name: extra[name] for name in cls.model_fields if extra.get(name) not in (None, "")}
        try:
            settings = cls(**given | {"api_key": api_key, "base_url": _base_url(connection)})
        except ValidationError as error:
            reason = refusals(cls, error)
        else:
            _known_image_hosts[connection.conn_id] = frozenset(settings.all_image_hosts)
            return settings
        raise ConfigurationError(f"Connection {connection.conn_id!r}: {reason}")

    @property
    def all_image_hosts(self) -> set[str]:
        """The hosts that pictures may come from."""
        return {IMAGE_HOST, urlsplit(self.base_url).hostname or "", *self.image_hosts}


#: The hosts that images may come from, by the id of each connection that was read in this process.
_known_image_hosts: dict[str, frozenset[str]] = {}


def known_image_hosts(conn_id: str) -> Collection[str]:
    """The hosts that images may come from, without a call to Airflow.

    :param conn_id: the connection.
    :return: what it said when this process last read it; the service's own host alone if it has not.
    """
    return _known_image_hosts.get(conn_id, {IMAGE_HOST})


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
