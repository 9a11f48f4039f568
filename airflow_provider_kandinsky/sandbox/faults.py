"""What goes wrong, on demand or by chance."""

from __future__ import annotations

from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_provider_kandinsky.sandbox.settings import Settings

Call = Literal["submit", "status", "result", "generate", "credits", "history", "image"]

_BILLED_CALLS = frozenset({"submit", "generate"})
_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Fault(BaseModel):
    """The next answers of a call are this.

    :param call: which call, ``"*"`` for any of them.
    :param times: how many answers, 1 or more.
    :param status: the HTTP status; without it, 200 if there is a ``body``, else the call's own.
    :param body: JSON, or text as it is: HTML, or JSON that is broken.
    :param headers: put on the answer.
    :param drop: close the connection without an answer.
    :param stall: seconds to hold the answer back.
    :param after: False: the call has no effect, nothing is accepted. True: it takes effect, a POST is accepted and
        billed, and only then its answer is lost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    call: Call | Literal["*"]
    times: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    headers: dict[str, str] = {}
    drop: bool = False
    stall: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    after: bool = False

    @model_validator(mode="after")
    def _check_not_empty(self) -> Fault:
        if not (self.replaces_answer or self.headers or self.stall):
            raise ValueError("a fault needs at least one of status, body, headers, drop, stall")
        return self

    @property
    def replaces_answer(self) -> bool:
        """Whether the call's own answer is never seen."""
        return self.drop or self.status is not None or self.body is not None


class FaultPlan:
    """Decides which answer goes wrong: the faults that were asked for first, in their order, else the storm."""

    def __init__(self) -> None:
        self._ordered: list[tuple[Fault, int]] = []
        self._draws = 0

    def add(self, fault: Fault) -> None:
        """Let the next ``fault.times`` answers of its call go wrong."""
        self._ordered.append((fault, fault.times))

    def clear(self) -> None:
        """Forget the faults that were asked for and have not happened."""
        self._ordered.clear()

    def pending(self) -> list[dict[str, Any]]:
        """The faults that have not happened, with how many times are left."""
        return [fault.model_dump() | {"times": left} for fault, left in self._ordered]

    def take(self, call: str, settings: Settings) -> Fault | None:
        """What goes wrong with this answer, if anything does."""
        for position, (fault, left) in enumerate(self._ordered):
            if fault.call in (call, "*"):
                self._ordered[position : position + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        if settings.fault_rate == 0:
            return None
        self._draws += 1
        # A generator per answer: the n-th answer meets the same weather, whatever the ones before it drew.
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
    if not after:  # a 429 promises that nothing was accepted
        kinds.append({"status": 429, "body": {"error": "Rate limit exceeded"}})
    return Fault(call=call, after=after, **rng.choice(kinds))
