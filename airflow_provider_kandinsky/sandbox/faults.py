"""Injected faults, on demand or at random."""

from __future__ import annotations

from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_provider_kandinsky.sandbox.settings import Settings

Call = Literal["submit", "status", "result", "generate", "credits", "history", "models", "image"]

_BILLED_CALLS = frozenset({"submit", "generate"})
_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Fault(BaseModel):
    """What happens to the next responses of a call.

    :param call: the call, or ``"*"`` for any.
    :param times: number of responses, 1 or more.
    :param status: the HTTP status; without it, 200 if there is a ``body``, else the call's own.
    :param body: JSON, or a string that is sent unchanged, such as HTML or broken JSON.
    :param headers: added to the response.
    :param drop: close the connection without a response.
    :param stall: seconds to delay the response.
    :param rows: changes to the rows of a response of the request history, by request id: fields that replace those of
        its rows, or ``None`` to leave its rows out. The call is ``"history"`` then.
    :param after: ``False``: the call has no effect. ``True``: the call takes effect first, so a POST is accepted and
        billed, and only its response is lost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    call: Call | Literal["*"]
    times: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    headers: dict[str, str] = {}
    drop: bool = False
    stall: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    rows: dict[str, dict[str, Any] | None] = {}
    after: bool = False

    @model_validator(mode="after")
    def _check_not_empty(self) -> Fault:
        if not (self.replaces_response or self.headers or self.stall or self.rows):
            raise ValueError("a fault needs at least one of status, body, headers, drop, stall, rows")
        if self.rows and (self.call != "history" or self.replaces_response):
            raise ValueError("rows change the real response of the call history")
        return self

    @property
    def replaces_response(self) -> bool:
        """Whether the call's own response is not sent."""
        return self.drop or self.status is not None or self.body is not None

    def change_rows(self, body: Any) -> Any:
        """The body of a response of the request history with the rows changed.

        :return: ``None`` if the body is one row, which is left out.
        """
        if isinstance(body, list):
            changed = [self.change_rows(row) for row in body]
            return [row for row in changed if row is not None]
        if "request_id" in body:
            change = self.rows.get(body["request_id"], {})
            return None if change is None else body | change
        return {key: self.change_rows(value) if isinstance(value, list) else value for key, value in body.items()}


class FaultPlan:
    """Decides which responses get a fault: the injected ones in order, else a random one by ``fault_rate``."""

    def __init__(self) -> None:
        self._ordered: list[tuple[Fault, int]] = []
        self._draws = 0

    def add(self, fault: Fault) -> None:
        """Inject a fault."""
        self._ordered.append((fault, fault.times))

    def clear(self) -> None:
        """Remove the pending faults."""
        self._ordered.clear()

    def pending(self) -> list[dict[str, Any]]:
        """The pending faults, with their remaining ``times``."""
        return [fault.model_dump() | {"times": left} for fault, left in self._ordered]

    def take(self, call: str, settings: Settings) -> Fault | None:
        """The fault of this response, if any."""
        for position, (fault, left) in enumerate(self._ordered):
            if fault.call in (call, "*"):
                self._ordered[position : position + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        if settings.fault_rate == 0:
            return None
        self._draws += 1
        # One generator per response: the n-th response gets the same fault, whatever was drawn before.
        return _random_fault(call, settings, Random(f"{settings.seed}:storm:{self._draws}"))


def _random_fault(call: str, settings: Settings, rng: Random) -> Fault | None:
    if rng.random() >= settings.fault_rate:
        return None
    after = call in _BILLED_CALLS and rng.random() < 0.5
    kinds: list[dict[str, Any]] = [
        {"status": 500, "body": {"error": "Internal server error"}},
        {"status": 502, "body": _GATEWAY_PAGE},
        {"status": 200, "body": '{"status": "COMPL'},
        {"drop": True},
    ]
    if not after:  # a 429 says that nothing was accepted
        kinds.append({"status": 429, "body": {"error": "Rate limit exceeded"}})
    return Fault(call=call, after=after, **rng.choice(kinds))
