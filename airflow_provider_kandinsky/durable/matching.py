"""Which row of the request history is which submission. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from airflow_provider_kandinsky.segmind.wire.history import PastRequest
from airflow_provider_kandinsky.segmind.wire.values import integer_in

#: How long after a POST has left its absence from the history means that it was never accepted, in seconds.
HISTORY_DELAY: Final = 15.0
#: How far the service's clock may be behind this machine's, in seconds.
CLOCK_SKEW: Final = 120.0
#: How long after its submission the history may say that a request was made, in seconds: it may count from its start.
_LATEST: Final = 3600.0
#: A local time that is read as UTC is wrong by so many seconds at most.
ZONE_DOUBT: Final = 14 * 3600.0


class Match(Enum):
    """Whether a row of the history is a submission."""

    NO = "no"
    DOUBTFUL = "perhaps"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission that was about to be made.

    :param payload: what was to be sent.
    :param intended_at: when, in seconds since the epoch.
    :param send_by: by when the POST had left, or never will, in seconds since the epoch.
    :param sent_at: when it had last left, where that is known.
    :param model_parameters: the names in the payload that only this model has. In which form the history has those, if
        at all, is not known.
    :param has_own_seed: whether no other task sends this payload, as its seed is made from the task's own name.
    :param is_presumed: whether its payload is only presumed. A row with the task's own seed and other inputs is then
        what the task wanted before its arguments were changed.
    """

    payload: Mapping[str, Any]
    intended_at: float
    send_by: float
    sent_at: float | None = None
    has_own_seed: bool = False
    model_parameters: frozenset[str] = frozenset()
    is_presumed: bool = False

    @property
    def final_at(self) -> float:
        """From when on its absence from the history means that it was never accepted."""
        return (self.send_by if self.sent_at is None else self.sent_at) + HISTORY_DELAY

    @property
    def earliest(self) -> float:
        """When it can have been accepted at the earliest, by the service's clock."""
        return self.intended_at - CLOCK_SKEW

    @property
    def latest(self) -> float:
        """What the history may give as its time at the latest."""
        return (self.send_by if self.sent_at is None else self.sent_at) + CLOCK_SKEW + _LATEST

    def _comparable_with(self, row: PastRequest) -> dict[str, Any]:
        """The payload without what the history may leave out, or have in another form."""
        nested = (dict, list)
        return {
            name: value
            for name, value in self.payload.items()
            if name not in self.model_parameters
            or (name in row.payload and not isinstance(value, nested) and not isinstance(row.payload[name], nested))
        }

    @property
    def seed(self) -> int | None:
        """The seed that every row has which may be this; ``None`` if the service draws one."""
        seed = self.payload.get("seed")
        return None if seed == -1 else seed

    def match(self, row: PastRequest) -> Match:
        """Compare it with a row.

        A row at an unlikely time is doubtful: the history may give local times, or days alone. One that is further
        away than any time zone explains is another request. So is one with other inputs; but if the row has none, or
        has the task's own seed among them, it may be this one in another form.
        """
        if row.matches_payload(self.payload):
            likely = Match.YES
        elif (
            not row.payload
            or (self.has_own_seed and not self.is_presumed and row.matches_payload({"seed": self.payload["seed"]}))
            or (self.model_parameters and row.matches_payload(self._comparable_with(row)))
        ):
            likely = Match.DOUBTFUL
        else:
            return Match.NO
        if not row.request_id:
            return Match.DOUBTFUL
        if self.has_own_seed and likely is Match.YES:
            return Match.YES
        if row.created_at is None:
            return Match.DOUBTFUL if self.payload.get("seed") == -1 else likely
        distance = max(self.earliest - row.created_at, row.created_at - self.latest, 0.0)
        if distance == 0.0:
            return likely
        return Match.DOUBTFUL if distance <= max(ZONE_DOUBT, row.created_at_doubt) else Match.NO


class IntentIndex:
    """Which of many submissions a row may be: comparing each row with thousands of them takes minutes.

    :param intents: in any order.
    """

    def __init__(self, intents: Sequence[Intent]) -> None:
        self._all = range(len(intents))
        self._by_seed: dict[int | None, list[int]] = {}
        for place, intent in enumerate(intents):
            self._by_seed.setdefault(intent.seed, []).append(place)

    def places(self, row: PastRequest) -> Sequence[int]:
        """The places of those that a row may be, in order."""
        if (seed := integer_in(row.payload.get("seed"))) is None:
            return self._all
        return sorted([*self._by_seed.get(seed, ()), *self._by_seed.get(None, ())])
