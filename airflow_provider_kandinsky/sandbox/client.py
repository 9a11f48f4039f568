"""What a test holds in its hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY


class Sandbox:
    """A running sandbox. It speaks to it over HTTP, so it does not matter whether that is a thread or a process.

    :param url: scheme, host and port, as in ``http://127.0.0.1:8765``.
    :param api_key: a key that it accepts.
    """

    def __init__(self, url: str, api_key: str = DEFAULT_KEY) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        # The environment's proxies have no business between a test and its own machine.
        self._http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the sandbox runs on."""
        self._http.close()

    @property
    def history_url(self) -> str:
        """The whole URL of the request history."""
        return f"{self.url}/inference-request/request-history"

    @property
    def submissions(self) -> list[dict[str, Any]]:
        """Every job that was accepted, and so billed, in order: ``request_id``, ``model``, ``payload``, ``at`` (seconds
        since the epoch) and ``call`` (``submit`` or ``generate``)."""
        submissions: list[dict[str, Any]] = self._control("GET", "submissions")["submissions"]
        return submissions

    def calls(self, call: str | None = None, request_id: str | None = None) -> list[dict[str, Any]]:
        """Every call that came in, in the order of the answers: ``call``, ``request_id``, ``at`` (seconds since the
        epoch), ``status`` (``None`` if nothing was answered) and ``key_present``.

        :param call: only ``submit``, ``status``, ``result``, ``generate``, ``credits``, ``history`` or ``image``.
        :param request_id: only those about this job.
        """
        calls: list[dict[str, Any]] = self._control("GET", "calls", params=_given(call, request_id))["calls"]
        return calls

    def count_calls(self, call: str | None = None, request_id: str | None = None) -> int:
        """How many :meth:`calls` there are, without fetching them."""
        count: int = self._control("GET", "calls", params=_given(call, request_id) | {"count": "1"})["count"]
        return count

    @property
    def settings(self) -> dict[str, Any]:
        """The settings in force."""
        settings: dict[str, Any] = self._control("GET", "settings")
        return settings

    def configure(self, **settings: Any) -> None:
        """Change settings from now on; see :class:`~airflow_provider_kandinsky.sandbox.settings.Settings`.

        :raises ValueError: for a name or value that is not allowed.
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
        after: bool = False,
    ) -> None:
        """Let the next answers of a call go wrong; see :class:`~airflow_provider_kandinsky.sandbox.faults.Fault`.

        :raises ValueError: for a call or value that is not allowed.
        """
        fault = {"call": call, "times": times, "status": status, "body": body, "headers": dict(headers or {})}
        self._control("POST", "faults", json=fault | {"drop": drop, "stall": stall, "after": after})

    @property
    def pending_faults(self) -> list[dict[str, Any]]:
        """The faults that were asked for and have not happened, each with how many times are left."""
        faults: list[dict[str, Any]] = self._control("GET", "faults")["faults"]
        return faults

    def clear_faults(self) -> None:
        """Forget the faults that have not happened."""
        self._control("DELETE", "faults")

    def reset(self) -> None:
        """Forget everything, and go back to the settings of the start."""
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


def _given(call: str | None, request_id: str | None) -> dict[str, str]:
    return {name: value for name, value in {"call": call, "request_id": request_id}.items() if value is not None}
