"""Client to control and inspect a running sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import httpx

from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY
from airflow_provider_kandinsky.segmind.constants import IDLE_CONNECTION_LIFETIME


class Sandbox:
    """Controls and inspects a running sandbox over HTTP, in this process or another one.

    :param url: scheme, host and port, as in ``http://127.0.0.1:8765``.
    :param api_key: a key that it accepts.
    """

    def __init__(self, url: str, api_key: str = DEFAULT_KEY) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        # Without the environment's proxies: the sandbox is local.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=30.0,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=IDLE_CONNECTION_LIFETIME),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the sandbox keeps running."""
        self._http.close()

    @property
    def history_url(self) -> str:
        """The full URL of the request history."""
        return f"{self.url}/inference-request/request-history"

    @property
    def submissions(self) -> list[dict[str, Any]]:
        """The accepted, and so billed, jobs in order: ``request_id``, ``model``, ``payload``, ``at`` (seconds since
        the epoch) and ``call`` (``submit`` or ``generate``)."""
        return list(self._control("GET", "submissions")["submissions"])

    def calls(
        self, call: str | None = None, request_id: str | None = None, status: int | None = None
    ) -> list[dict[str, Any]]:
        """The finished calls in the order of their responses: ``call``, ``request_id``, ``at`` (seconds since the
        epoch), ``status`` (``None`` if the connection was dropped) and ``key_present``.

        :param call: filter: ``submit``, ``status``, ``result``, ``generate``, ``credits``, ``history``,
            ``models`` or ``image``; or ``api`` for the first five together, which are those that can count towards a
            plan's limit.
        :param request_id: filter: this job.
        :param status: filter: the response's HTTP status, such as 429 for the refused ones.
        """
        return list(self._control("GET", "calls", params=_given(call, request_id, status))["calls"])

    def count_calls(self, call: str | None = None, request_id: str | None = None, status: int | None = None) -> int:
        """The number of :meth:`calls`, without fetching them."""
        filters = _given(call, request_id, status)
        return int(self._control("GET", "calls", params=filters | {"count": "1"})["count"])

    @property
    def settings(self) -> dict[str, Any]:
        """The current settings."""
        return dict(self._control("GET", "settings"))

    def configure(self, **settings: Any) -> None:
        """Change settings; see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.

        :raises ValueError: a name or value is not allowed.
        """
        self._control("PATCH", "settings", json=settings)

    def fault(
        self,
        call: str,
        *,
        times: int = 1,
        status: int | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        drop: bool = False,
        stall: float = 0.0,
        rows: Mapping[str, Mapping[str, Any] | None] | None = None,
        after: bool = False,
    ) -> None:
        """Inject a fault into the next responses; see :class:`~airflow_provider_kandinsky.sandbox.faults.Fault`.

        :raises ValueError: a call or value is not allowed.
        """
        fault = {"call": call, "times": times, "status": status, "body": body, "headers": dict(headers or {})}
        changes = {request_id: None if row is None else dict(row) for request_id, row in (rows or {}).items()}
        self._control("POST", "faults", json=fault | {"drop": drop, "stall": stall, "rows": changes, "after": after})

    @property
    def pending_faults(self) -> list[dict[str, Any]]:
        """The injected faults that have not happened yet, with their remaining ``times``."""
        return list(self._control("GET", "faults")["faults"])

    def clear_faults(self) -> None:
        """Remove the pending faults."""
        self._control("DELETE", "faults")

    def reset(self) -> None:
        """Delete all jobs, calls and faults, and restore the initial settings."""
        self._control("POST", "reset")

    def connection(self, **extra: Any) -> str:
        """An Airflow connection to this sandbox, for ``AIRFLOW_CONN_KANDINSKY_DEFAULT``.

        :param extra: more fields of the connection's extra.
        """
        return json.dumps(
            {
                "conn_type": "kandinsky",
                "password": self.api_key,
                "host": self.url,
                "extra": {"history_url": self.history_url} | extra,
            }
        )

    def _control(self, method: str, name: str, **request: Any) -> Any:
        response = self._http.request(method, f"/_sandbox/{name}", **request)
        if response.status_code == 422:
            raise ValueError(response.json()["error"])
        response.raise_for_status()
        return response.json() if response.content else None


def _given(call: str | None, request_id: str | None, status: int | None) -> dict[str, str]:
    filters = {"call": call, "request_id": request_id, "status": status}
    return {name: str(value) for name, value in filters.items() if value is not None}
